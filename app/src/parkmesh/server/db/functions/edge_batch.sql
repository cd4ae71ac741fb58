-- One batch of a gateway's events: JSON lists of objects, one list for each kind of event. A server that sends fewer keys
-- than a later one stays right while both run: a key that is missing is NULL.
-- What is stored under a number is compared with what comes under it again: a spool that was put back to an earlier state
-- numbers new events like those that it has forgotten. Such a batch is refused (other), with the last number that is the
-- same on both sides as its mark, and the gateway starts a new epoch. What isn't there any more
-- counts as the same after two days: retention may have deleted it.
-- A gateway whose clock is ahead is taken to have received now what it says that it will receive: a moment in the future
-- would outweigh what it sees once its clock is right.
CREATE OR REPLACE FUNCTION edge_batch(
    p_token bytea, p_epoch bigint, p_first bigint, p_last bigint, p_passages json, p_states json, p_gaps json,
    OUT outcome text, OUT epoch bigint, OUT mark bigint, OUT community_id bigint
)
    RETURNS record
    LANGUAGE plpgsql
AS $function$
#variable_conflict use_column
DECLARE
    v_community bigint;
    v_gateway bigint;
    v_epoch bigint;
    v_mark bigint;
    v_unknown_gates bigint := 0;
    v_unknown_spaces bigint := 0;
    v_dropped bigint := 0;
    v_other bigint;
    v_now bigint := floor(extract(epoch FROM clock_timestamp()) * 1000)::bigint;
BEGIN
    SELECT i.community_id, i.gateway_id INTO v_community, v_gateway FROM edge_identify(p_token) i;
    IF v_gateway IS NULL THEN
        outcome := 'unidentified';
        RETURN;
    END IF;
    SELECT g.epoch, g.acked INTO v_epoch, v_mark FROM gateway g
        WHERE g.community_id = v_community AND g.id = v_gateway FOR UPDATE;
    IF p_epoch > v_epoch THEN
        v_epoch := p_epoch;
        v_mark := 0;
    END IF;
    outcome := CASE WHEN p_epoch < v_epoch THEN 'stale' WHEN p_first > v_mark + 1 THEN 'gap'
                    WHEN p_last <= v_mark THEN 'known' ELSE 'applied' END;
    epoch := v_epoch;
    mark := v_mark;
    community_id := v_community;
    IF outcome IN ('known', 'applied') AND p_first <= v_mark THEN
        SELECT min(o.seq) INTO v_other FROM (
            SELECT e.seq
            FROM json_to_recordset(p_passages) AS e(seq bigint, received bigint, gate text, direction text)
            LEFT JOIN passage p ON p.community_id = v_community AND p.gateway_id = v_gateway AND p.epoch = v_epoch
                AND p.seq = e.seq
            WHERE e.seq <= v_mark
                -- One that was in the future when it was stored has another time.
                AND coalesce(p.gate <> e.gate OR p.received_at <> to_timestamp(e.received / 1000.0)
                                 AND p.stored_at > to_timestamp(e.received / 1000.0),
                             e.received > v_now - 172800000)
            UNION ALL
            SELECT u.seq
            FROM json_to_recordset(p_states) AS u(seq bigint, received bigint, space text, status text)
            JOIN space s ON s.community_id = v_community AND s.name = u.space
            WHERE u.seq <= v_mark AND u.received BETWEEN v_now - 172800000 AND v_now AND NOT EXISTS (
                SELECT FROM observation o
                WHERE o.community_id = v_community AND o.space_id = s.id AND o.gateway_id = v_gateway
                    AND o.epoch = v_epoch AND o.seq = u.seq AND o.status = u.status
                    AND o.received_at <= to_timestamp(u.received / 1000.0)
                    AND o.received_at > to_timestamp(u.received / 1000.0) - interval '2 days')
            UNION ALL
            -- A gap that tells of a loss mustn't count as known because something else has its number.
            SELECT u.seq
            FROM json_to_recordset(p_gaps) AS u(seq bigint, kind text)
            LEFT JOIN gap s ON s.community_id = v_community AND s.gateway_id = v_gateway AND s.epoch = v_epoch
                AND s.seq = u.seq
            WHERE u.seq <= v_mark AND s.kind IS DISTINCT FROM u.kind
        ) o;
        IF v_other IS NOT NULL THEN
            outcome := 'other';
            mark := v_other - 1;
            RETURN;
        END IF;
    END IF;
    IF outcome <> 'applied' THEN
        RETURN;
    END IF;

    IF json_array_length(p_passages) > 0 THEN
        WITH e AS MATERIALIZED (
            SELECT e.*, least(e.received, v_now) AS at
            FROM json_to_recordset(p_passages)
                AS e(seq bigint, received bigint, device bigint, gate text, direction text, plate text, decision text,
                     reason text, opened boolean, credential text, access_list_version bigint, confidence real,
                     camera text, device_event text)
            WHERE e.seq > v_mark
        ), stored AS (
            INSERT INTO passage (community_id, gateway_id, epoch, seq, received_at, device_at, gate, direction, plate,
                                 decision, reason, opened, credential_id, access_list_version, confidence, camera,
                                 device_event_id)
                SELECT v_community, v_gateway, v_epoch, e.seq,
                       to_timestamp(e.at / 1000.0), to_timestamp(e.device / 1000.0),
                       e.gate,
                       -- A gateway knows a direction from cameras only; a gate without one has it here.
                       CASE WHEN e.reason = 'command' THEN
                           coalesce((SELECT k.direction FROM gate_command k
                                     WHERE k.community_id = v_community AND k.id = e.device_event), e.direction)
                           ELSE e.direction END,
                       e.plate, e.decision, e.reason, e.opened, e.credential,
                       e.access_list_version, e.confidence, e.camera, e.device_event
                FROM e
        ), answered AS (
            UPDATE gate_command k SET state = CASE WHEN e.opened THEN 'opened' ELSE 'not_opened' END, done_at = now()
            FROM e
            WHERE e.reason = 'command' AND k.community_id = v_community AND k.id = e.device_event AND k.gate = e.gate
                AND k.state IN ('sent', 'not_opened')
        ), moved AS (
            -- In the order of the plates, so that two gateways of a community never wait for each other in a ring.
            INSERT INTO presence AS old (community_id, plate, inside, at, gateway_id, epoch, seq, gate)
                SELECT DISTINCT ON (m.plate) v_community, m.plate, m.direction = 'entry',
                       to_timestamp(m.at / 1000.0), v_gateway, v_epoch, m.seq, m.gate
                FROM (SELECT coalesce(
                          -- One look by key for each misread: a join would compare each read with all the credentials.
                          CASE WHEN e.reason <> 'exact' AND e.credential ~ '^[0-9]{1,18}$' THEN
                              (SELECT c.plate FROM credential c
                               WHERE c.community_id = v_community AND c.id = e.credential::bigint)
                          END, e.plate) AS plate, e.direction, e.at, e.seq, e.gate
                      FROM e
                      WHERE e.opened AND e.decision = 'granted' AND e.plate <> '') m
                ORDER BY m.plate, m.at DESC, m.seq DESC
            ON CONFLICT (community_id, plate) DO UPDATE
                SET inside = excluded.inside, at = excluded.at, gateway_id = excluded.gateway_id,
                    epoch = excluded.epoch, seq = excluded.seq, gate = excluded.gate
                -- What earlier releases stored of the future yields.
                WHERE old.at > to_timestamp(v_now / 1000.0)
                    OR (old.at, old.gateway_id, old.epoch, old.seq)
                    < (excluded.at, excluded.gateway_id, excluded.epoch, excluded.seq)
        )
        SELECT count(*) INTO v_unknown_gates FROM e
            WHERE NOT EXISTS (SELECT FROM gate k WHERE k.community_id = v_community AND k.name = e.gate);
    END IF;

    IF json_array_length(p_states) > 0 THEN
        WITH u AS MATERIALIZED (
            SELECT u.seq, least(u.received, v_now) AS received, u.space, u.status
            FROM json_to_recordset(p_states) AS u(seq bigint, received bigint, space text, status text)
            WHERE u.seq > v_mark
        ), seen AS (
            INSERT INTO observation (community_id, space_id, received_at, gateway_id, epoch, seq, status)
                SELECT v_community, s.id, to_timestamp(u.received / 1000.0), v_gateway, v_epoch, u.seq, u.status
                FROM u JOIN space s ON s.community_id = v_community AND s.name = u.space
            RETURNING *
        ), known AS (
            -- In the order of the spaces, for the same reason.
            INSERT INTO space_state AS old (community_id, space_id, status, received_at, changed_at, gateway_id)
                SELECT DISTINCT ON (e.space_id)
                       v_community, e.space_id, e.status, e.received_at, e.received_at, v_gateway
                FROM seen e ORDER BY e.space_id, e.seq DESC
            ON CONFLICT (community_id, space_id) DO UPDATE
                SET status = excluded.status, received_at = excluded.received_at, gateway_id = excluded.gateway_id,
                    changed_at = CASE WHEN old.status = excluded.status THEN old.changed_at
                                      ELSE excluded.changed_at END
                -- One gateway's events are in order. Between two gateways the later reception wins.
                WHERE old.gateway_id = excluded.gateway_id OR old.received_at <= excluded.received_at
                    OR old.received_at > to_timestamp(v_now / 1000.0)
        ), missing AS MATERIALIZED (
            SELECT u.* FROM u
            WHERE NOT EXISTS (SELECT FROM space s WHERE s.community_id = v_community AND s.name = u.space)
        ), unknown AS (
            INSERT INTO unknown_space AS old (community_id, gateway_id, name, events, last_status, last_received_at)
                SELECT v_community, v_gateway, m.space, count(*), (array_agg(m.status ORDER BY m.seq DESC))[1],
                       to_timestamp((array_agg(m.received ORDER BY m.seq DESC))[1] / 1000.0)
                FROM missing m GROUP BY m.space ORDER BY m.space
            ON CONFLICT (community_id, gateway_id, name) DO UPDATE
                SET events = old.events + excluded.events, last_status = excluded.last_status,
                    last_received_at = excluded.last_received_at
        )
        SELECT count(*) INTO v_unknown_spaces FROM missing;
    END IF;

    IF json_array_length(p_gaps) > 0 THEN
        WITH u AS MATERIALIZED (
            SELECT u.seq, least(u.received, v_now) AS received, u.kind, u.dropped
            FROM json_to_recordset(p_gaps) AS u(seq bigint, received bigint, kind text, dropped bigint)
            WHERE u.seq > v_mark
        ), stored AS (
            INSERT INTO gap (community_id, gateway_id, epoch, seq, received_at, kind, dropped)
                SELECT v_community, v_gateway, v_epoch, u.seq, to_timestamp(u.received / 1000.0), u.kind, u.dropped
                FROM u
        )
        SELECT least(coalesce(sum(u.dropped), 0), 4611686018427387904)::bigint INTO v_dropped FROM u;
    END IF;

    UPDATE gateway g SET epoch = v_epoch, acked = p_last, last_events_at = now(),
            unknown_gates = g.unknown_gates + v_unknown_gates, unknown_spaces = g.unknown_spaces + v_unknown_spaces,
            dropped = least(g.dropped::numeric + v_dropped, 9223372036854775807)::bigint
        WHERE g.community_id = v_community AND g.id = v_gateway;
    mark := p_last;
END $function$;

COMMENT ON FUNCTION edge_batch(bytea, bigint, bigint, bigint, json, json, json) IS
    'apply a batch and advance the mark in one transaction; outcome unidentified, stale, gap, other, known or applied';

-- The form with an array for each column: servers of the previous release call it while the servers are rolled. It ends
-- with the next release, together with edge_events.
CREATE OR REPLACE FUNCTION edge_batch(
    p_token bytea, p_epoch bigint, p_first bigint, p_last bigint, p_seq bigint[], p_received bigint[], p_device
    bigint[], p_gate text[], p_direction text[], p_plate text[], p_decision text[], p_reason text[], p_opened
    boolean[], p_credential text[], p_list_version bigint[], p_confidence real[], p_camera text[], p_device_event
    text[], s_seq bigint[], s_received bigint[], s_space text[], s_status text[], d_seq bigint[], d_received
    bigint[], d_kind text[], d_dropped bigint[], OUT outcome text, OUT epoch bigint, OUT mark bigint, OUT
    community_id bigint
)
    RETURNS record
    LANGUAGE sql
AS $function$
    SELECT * FROM edge_batch(
        p_token, p_epoch, p_first, p_last,
        (SELECT coalesce(json_agg(e), '[]')
         FROM unnest(p_seq, p_received, p_device, p_gate, p_direction, p_plate, p_decision, p_reason, p_opened,
                     p_credential, p_list_version, p_confidence, p_camera, p_device_event)
             AS e(seq, received, device, gate, direction, plate, decision, reason, opened, credential,
                  access_list_version, confidence, camera, device_event)),
        (SELECT coalesce(json_agg(u), '[]')
         FROM unnest(s_seq, s_received, s_space, s_status) AS u(seq, received, space, status)),
        (SELECT coalesce(json_agg(u), '[]')
         FROM unnest(d_seq, d_received, d_kind, d_dropped) AS u(seq, received, kind, dropped))
    );
$function$;

COMMENT ON FUNCTION edge_batch(
    bytea, bigint, bigint, bigint, bigint[], bigint[], bigint[], text[], text[], text[], text[], text[], boolean[],
    text[], bigint[], real[], text[], text[], bigint[], bigint[], text[], text[], bigint[], bigint[], text[], bigint[]
) IS
    'the form of edge_batch that servers of the previous release call';
