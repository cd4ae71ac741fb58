CREATE OR REPLACE FUNCTION parkmesh_invitation_email()
    RETURNS text
    LANGUAGE sql
    STABLE PARALLEL SAFE
AS $function$ SELECT nullif(current_setting('parkmesh.invitation_email', true), '') $function$;
