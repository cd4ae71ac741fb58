CREATE OR REPLACE FUNCTION edge_heartbeat(
    p_token bytea, p_sent bigint, p_version text, p_backlog bigint, p_list_version bigint, p_silent text[], OUT
    server_time bigint, OUT access_list_version bigint
)
    RETURNS record
    LANGUAGE plpgsql
AS $function$
#variable_conflict use_column
DECLARE
    v_community bigint;
    v_gateway bigint;
BEGIN
    SELECT i.community_id, i.gateway_id INTO v_community, v_gateway FROM edge_identify(p_token) i;
    IF v_gateway IS NULL THEN
        RETURN;
    END IF;
    server_time := (extract(epoch FROM clock_timestamp()) * 1000)::bigint;
    UPDATE gateway g SET last_heartbeat_at = now(), version = p_version, backlog = p_backlog,
            access_list_version = p_list_version, silent_cameras = p_silent, clock_skew_ms = p_sent - server_time
        WHERE g.community_id = v_community AND g.id = v_gateway;
    SELECT c.access_list_version INTO access_list_version FROM community c WHERE c.id = v_community;
    PERFORM pg_notify('parkmesh_live', v_community || ':g');
END $function$;
