CREATE OR REPLACE FUNCTION parkmesh_gateway_token()
    RETURNS bytea
    LANGUAGE sql
    STABLE PARALLEL SAFE
AS $function$ SELECT decode(nullif(current_setting('parkmesh.gateway_token', true), ''), 'hex') $function$;
