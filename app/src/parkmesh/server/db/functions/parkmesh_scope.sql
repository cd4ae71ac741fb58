CREATE OR REPLACE FUNCTION parkmesh_scope()
    RETURNS text
    LANGUAGE sql
    STABLE PARALLEL SAFE
AS $function$ SELECT coalesce(current_setting('parkmesh.scope', true), '') $function$;
