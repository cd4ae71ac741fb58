CREATE OR REPLACE FUNCTION parkmesh_api_key_token()
    RETURNS bytea
    LANGUAGE sql
    STABLE PARALLEL SAFE
AS $function$ SELECT decode(nullif(current_setting('parkmesh.api_key_token', true), ''), 'hex') $function$;
