CREATE OR REPLACE FUNCTION parkmesh_community()
    RETURNS bigint
    LANGUAGE sql
    STABLE PARALLEL SAFE
AS $function$ SELECT nullif(current_setting('parkmesh.community', true), '')::bigint $function$;
