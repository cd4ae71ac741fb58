CREATE OR REPLACE FUNCTION edge_beat(
    p_token bytea, p_sent bigint, p_version text, p_backlog bigint, p_list_version bigint, p_silent text[], OUT
    server_time bigint, OUT access_list_version bigint, OUT access_list_epoch bigint
)
    RETURNS record
    LANGUAGE plpgsql
AS $function$
#variable_conflict use_column
BEGIN
    -- A lost sign of life is followed by the next one: it is not worth waiting for the disk.
    PERFORM set_config('synchronous_commit', 'off', true);
    SELECT h.server_time, h.access_list_version INTO server_time, access_list_version
        FROM edge_heartbeat(p_token, p_sent, p_version, p_backlog, p_list_version, p_silent) h;
    SELECT c.access_list_epoch INTO access_list_epoch FROM community c WHERE c.id = parkmesh_community();
END $function$;

COMMENT ON FUNCTION edge_beat IS
    'edge_heartbeat, and which history the version of the access list counts';
