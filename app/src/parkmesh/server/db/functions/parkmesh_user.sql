CREATE OR REPLACE FUNCTION parkmesh_user()
    RETURNS bigint
    LANGUAGE sql
    STABLE PARALLEL SAFE
AS $function$ SELECT nullif(current_setting('parkmesh.user', true), '')::bigint $function$;
