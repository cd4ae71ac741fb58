CREATE OR REPLACE FUNCTION parkmesh_invitation_token()
    RETURNS bytea
    LANGUAGE sql
    STABLE PARALLEL SAFE
AS $function$ SELECT decode(nullif(current_setting('parkmesh.invitation_token', true), ''), 'hex') $function$;
