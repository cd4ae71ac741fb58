-- All counters of a gateway, as its heartbeat tells them. A count only rises: of two heartbeats that cross, the one with
-- less changes nothing. Another since is a count that began anew; what the earlier one came to is carried on.
CREATE OR REPLACE FUNCTION edge_counters(p_token bytea, p_counters json)
    RETURNS void
    LANGUAGE plpgsql
AS $function$
DECLARE
    v_community bigint;
    v_gateway bigint;
BEGIN
    PERFORM set_config('synchronous_commit', 'off', true);
    SELECT i.community_id, i.gateway_id INTO v_community, v_gateway FROM edge_identify(p_token) i;
    INSERT INTO counter AS old (community_id, gateway_id, name, capacity, since, entries, exits, known, told_at)
        SELECT v_community, v_gateway, t.name, t.capacity, to_timestamp(t.since / 1000.0), t.entries, t.exits, t.known,
               to_timestamp(t.told / 1000.0)
        FROM json_to_recordset(p_counters)
            AS t(name text, capacity integer, since bigint, entries bigint, exits bigint, known boolean, told bigint)
        WHERE v_gateway IS NOT NULL
    ON CONFLICT (community_id, gateway_id, name) DO UPDATE
        SET carried = old.carried + CASE WHEN old.since <> excluded.since THEN old.entries - old.exits ELSE 0 END,
            entries = CASE WHEN old.since = excluded.since THEN greatest(old.entries, excluded.entries)
                           ELSE excluded.entries END,
            exits = CASE WHEN old.since = excluded.since THEN greatest(old.exits, excluded.exits)
                         ELSE excluded.exits END,
            since = excluded.since, capacity = excluded.capacity, known = excluded.known, told_at = excluded.told_at;
    DELETE FROM counter c
        WHERE c.community_id = v_community AND c.gateway_id = v_gateway
            AND c.name NOT IN (SELECT t.name FROM json_to_recordset(p_counters) AS t(name text));
END $function$;

COMMENT ON FUNCTION edge_counters IS 'what a gateway''s facility counters counted, from its heartbeat';
