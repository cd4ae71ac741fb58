"""The edge: one call per batch of events, one per heartbeat, and who a gateway or a session is.

``edge_events`` keeps the promise of an exactly-once effect: the gateway's row is locked and read first, in a statement
of its own. (One statement that locks, applies and advances the mark in CTEs acknowledges batches and applies nothing:
its parts see the snapshot from before the lock.)
"""

from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

APP = "parkmesh_app"

GATEWAY = """
CREATE FUNCTION edge_identify(p_token bytea, OUT community_id bigint, OUT gateway_id bigint, OUT name text)
LANGUAGE plpgsql AS $$
#variable_conflict use_column
BEGIN
    PERFORM set_config('parkmesh.gateway_token', encode(p_token, 'hex'), true);
    SELECT g.community_id, g.id, g.name INTO community_id, gateway_id, name
        FROM gateway g WHERE g.token_sha256 = p_token;
    PERFORM set_config('parkmesh.gateway_token', '', true);
    PERFORM set_config('parkmesh.community', coalesce(community_id::text, ''), true);
END $$;
COMMENT ON FUNCTION edge_identify IS
    'name the gateway that holds a token (NULLs: none) and enter its community for the rest of the transaction';
"""

EVENTS = """
CREATE FUNCTION edge_events(
    p_token bytea, p_epoch bigint, p_first bigint, p_last bigint,
    p_seq bigint[], p_received bigint[], p_device bigint[], p_gate text[], p_direction text[], p_plate text[],
    p_decision text[], p_reason text[], p_opened boolean[], p_credential text[], p_list_version bigint[],
    p_confidence real[], p_camera text[], p_device_event text[],
    s_seq bigint[], s_received bigint[], s_space text[], s_status text[],
    d_seq bigint[], d_received bigint[], d_kind text[], d_dropped bigint[],
    OUT outcome text, OUT epoch bigint, OUT mark bigint
) LANGUAGE plpgsql AS $$
#variable_conflict use_column
DECLARE
    v_community bigint;
    v_gateway bigint;
    v_epoch bigint;
    v_mark bigint;
    v_unknown_gates bigint := 0;
    v_unknown_spaces bigint := 0;
    v_dropped bigint := 0;
    v_changed text := '';
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
    IF outcome <> 'applied' THEN
        RETURN;
    END IF;

    INSERT INTO passage (community_id, gateway_id, epoch, seq, received_at, device_at, gate, direction, plate, decision,
                         reason, opened, credential_id, access_list_version, confidence, camera, device_event_id)
        SELECT v_community, v_gateway, v_epoch, e.seq,
               to_timestamp(e.received / 1000.0), to_timestamp(e.device / 1000.0),
               e.gate, e.direction, e.plate, e.decision, e.reason, e.opened, e.credential, e.list_version, e.confidence,
               e.camera, e.device_event
        FROM unnest(p_seq, p_received, p_device, p_gate, p_direction, p_plate, p_decision, p_reason, p_opened,
                    p_credential, p_list_version, p_confidence, p_camera, p_device_event)
            AS e(seq, received, device, gate, direction, plate, decision, reason, opened, credential, list_version,
                 confidence, camera, device_event)
        WHERE e.seq > v_mark;
    IF FOUND THEN
        v_changed := v_changed || 'p';
        SELECT count(*) INTO v_unknown_gates FROM unnest(p_seq, p_gate) AS e(seq, gate)
            WHERE e.seq > v_mark
              AND NOT EXISTS (SELECT FROM gate k WHERE k.community_id = v_community AND k.name = e.gate);
    END IF;

    IF s_seq[array_upper(s_seq, 1)] > v_mark THEN
        -- In the order of the spaces, so that two gateways of a community never wait for each other in a ring.
        INSERT INTO space_state AS old (community_id, space_id, status, received_at, changed_at, gateway_id)
            SELECT v_community, s.id, e.status, to_timestamp(e.received / 1000.0), to_timestamp(e.received / 1000.0),
                   v_gateway
            FROM (SELECT DISTINCT ON (u.space) u.space, u.status, u.received
                  FROM unnest(s_seq, s_received, s_space, s_status) AS u(seq, received, space, status)
                  WHERE u.seq > v_mark ORDER BY u.space, u.seq DESC) e
            JOIN space s ON s.community_id = v_community AND s.name = e.space
            ORDER BY s.id
        ON CONFLICT (community_id, space_id) DO UPDATE
            SET status = excluded.status, received_at = excluded.received_at, gateway_id = excluded.gateway_id,
                changed_at = CASE WHEN old.status = excluded.status THEN old.changed_at ELSE excluded.changed_at END
            -- One gateway's events are in order. Between two gateways the later reception wins.
            WHERE old.gateway_id = excluded.gateway_id OR old.received_at <= excluded.received_at;
        INSERT INTO unknown_space AS old (community_id, gateway_id, name, events, last_status, last_received_at)
            SELECT v_community, v_gateway, u.space, count(*), (array_agg(u.status ORDER BY u.seq DESC))[1],
                   to_timestamp((array_agg(u.received ORDER BY u.seq DESC))[1] / 1000.0)
            FROM unnest(s_seq, s_received, s_space, s_status) AS u(seq, received, space, status)
            WHERE u.seq > v_mark
              AND NOT EXISTS (SELECT FROM space s WHERE s.community_id = v_community AND s.name = u.space)
            GROUP BY u.space ORDER BY u.space
        ON CONFLICT (community_id, gateway_id, name) DO UPDATE
            SET events = old.events + excluded.events, last_status = excluded.last_status,
                last_received_at = excluded.last_received_at;
        IF FOUND THEN
            SELECT count(*) INTO v_unknown_spaces FROM unnest(s_seq, s_space) AS u(seq, space)
                WHERE u.seq > v_mark
                  AND NOT EXISTS (SELECT FROM space s WHERE s.community_id = v_community AND s.name = u.space);
        END IF;
        v_changed := v_changed || 's';
    END IF;

    IF array_length(d_seq, 1) > 0 THEN
        INSERT INTO gap (community_id, gateway_id, epoch, seq, received_at, kind, dropped)
            SELECT v_community, v_gateway, v_epoch, u.seq, to_timestamp(u.received / 1000.0), u.kind, u.dropped
            FROM unnest(d_seq, d_received, d_kind, d_dropped) AS u(seq, received, kind, dropped)
            WHERE u.seq > v_mark;
        SELECT least(coalesce(sum(u.dropped), 0), 4611686018427387904)::bigint INTO v_dropped
            FROM unnest(d_seq, d_dropped) AS u(seq, dropped) WHERE u.seq > v_mark;
        v_changed := v_changed || 'g';
    END IF;

    UPDATE gateway g SET epoch = v_epoch, acked = p_last, last_events_at = now(),
            unknown_gates = g.unknown_gates + v_unknown_gates, unknown_spaces = g.unknown_spaces + v_unknown_spaces,
            dropped = least(g.dropped::numeric + v_dropped, 9223372036854775807)::bigint
        WHERE g.community_id = v_community AND g.id = v_gateway;
    PERFORM pg_notify('parkmesh_live', v_community || ':' || v_changed);
    mark := p_last;
END $$;
COMMENT ON FUNCTION edge_events IS
    'apply a batch and advance the mark in one transaction; outcome unidentified, stale, gap, known or applied';
"""

HEARTBEAT = """
CREATE FUNCTION edge_heartbeat(
    p_token bytea, p_sent bigint, p_version text, p_backlog bigint, p_list_version bigint, p_silent text[],
    OUT server_time bigint, OUT access_list_version bigint
) LANGUAGE plpgsql AS $$
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
END $$;
"""

SESSION = """
CREATE FUNCTION web_identify(
    p_token bytea, OUT user_id bigint, OUT email text, OUT name text, OUT operator boolean, OUT memberships jsonb
) LANGUAGE plpgsql AS $$
#variable_conflict use_column
DECLARE
    v_seen timestamptz;
BEGIN
    PERFORM set_config('parkmesh.scope', 'identity', true);
    SELECT u.id, u.email, u.name, u.operator, s.last_seen_at INTO user_id, email, name, operator, v_seen
        FROM web_session s JOIN app_user u ON u.id = s.user_id
        WHERE s.token_sha256 = p_token AND s.revoked_at IS NULL AND s.expires_at > now() AND u.active
          AND s.last_seen_at > now() - interval '12 hours';
    IF user_id IS NOT NULL THEN
        PERFORM set_config('parkmesh.user', user_id::text, true);
        SELECT coalesce(jsonb_agg(jsonb_build_object(
                'community_id', m.community_id, 'community', c.name, 'role', m.role, 'resident_id', m.resident_id
            ) ORDER BY c.name), '[]')
            INTO memberships
            FROM membership m JOIN community c ON c.id = m.community_id WHERE m.user_id = web_identify.user_id;
        IF v_seen < now() - interval '1 minute' THEN
            UPDATE web_session s SET last_seen_at = now() WHERE s.token_sha256 = p_token;
        END IF;
    END IF;
    PERFORM set_config('parkmesh.user', '', true);
    PERFORM set_config('parkmesh.scope', '', true);
END $$;
COMMENT ON FUNCTION web_identify IS
    'name the user whose live session holds a token, with his memberships (NULLs: none)';
"""


def upgrade() -> None:
    driver = op.get_bind().connection.dbapi_connection
    assert driver is not None
    for script in (GATEWAY, EVENTS, HEARTBEAT, SESSION):
        driver.run_async(lambda connection, script=script: connection.execute(script))


def downgrade() -> None:
    raise NotImplementedError("servers of this release cannot run without these functions")
