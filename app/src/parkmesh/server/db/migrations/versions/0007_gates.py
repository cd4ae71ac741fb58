"""Gates: passages and observations in partitions by day, who is inside, lanes, the access list's epoch, and what
retention works with.

**Partitions.** ``passage`` becomes a table partitioned by ``received_at``: one partition per day (UTC), the old table
as the one before all of them, and a default one, so that no event is ever lost for want of a partition. A database in
use is not stopped for it: what reads the whole table is done before, in transactions of their own that let others
read and write (a validated CHECK spares ATTACH its scan; the new index is built CONCURRENTLY), and the last one only
changes catalogues. A migration that was interrupted begins again and finds its own leavings. Until it is through, a
batch whose gateway's clock is more than a day ahead is refused; the gateway keeps it and sends it again.

``passage`` refers to ``gateway`` no longer: the ingestion function holds the gateway's row while it writes, and a check
per row, with a lock on ``gateway`` whenever a partition comes or goes, buys nothing on top of that. ``observation``,
what sensors said of spaces, is partitioned from the start and refers to nothing for the same reason.

**Presence** is the last word on each plate: of all movements and corrections the one with the greatest
``(at, gateway_id, epoch, seq)``. A greatest element doesn't depend on the order in which the others came.

**Retention** (``parkmesh.server.retention``) works across communities as the tables' owner in the scope ``retention``.
The application's role can't enter it.
"""

from typing import Any

from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

APP = "parkmesh_app"

# What retention reads or removes across communities, where an earlier revision made it.
KEPT_FOR_A_TIME = (
    "community",
    "credential",
    "access_list_change",
    "gateway",
    "gap",
    "invitation",
    "idempotency_key",
    "visitor_pass",
    "booking",
    "presence",
    "presence_correction",
    "passage_count",
    "gate_opening",
    "membership",
)

# Days from here on get partitions of their own. An empty table starts with today; one in use keeps enough of the
# future for everybody whose clock is about right.
BOUND = """
ALTER TABLE passage DROP CONSTRAINT IF EXISTS passage_past_bound;
DROP POLICY IF EXISTS retention ON passage;
CREATE POLICY retention ON passage TO CURRENT_USER USING ((SELECT parkmesh_scope()) = 'retention');
DO $$
BEGIN
    EXECUTE format('ALTER TABLE passage ADD CONSTRAINT passage_past_bound CHECK (received_at < %L) NOT VALID',
        date_trunc('day', now(), 'UTC') + CASE pg_relation_size('passage') WHEN 0 THEN 0 ELSE 2 END * interval '1 day');
END $$;
CREATE TABLE IF NOT EXISTS passage_default (LIKE passage INCLUDING DEFAULTS INCLUDING INDEXES);
"""
DROP_INDEX = "DROP INDEX IF EXISTS passage_past_plate"
INDEX = """
CREATE INDEX CONCURRENTLY passage_past_plate ON passage (community_id, plate text_pattern_ops, received_at)
"""
AHEAD = """
DO $$
BEGIN
    PERFORM set_config('parkmesh.scope', 'retention', true);
    EXECUTE format('WITH ahead AS (DELETE FROM passage WHERE NOT %s RETURNING *)
                    INSERT INTO passage_default SELECT * FROM ahead',
        (SELECT pg_get_expr(conbin, conrelid) FROM pg_constraint WHERE conname = 'passage_past_bound'));
END $$;
"""
VALIDATE = "ALTER TABLE passage VALIDATE CONSTRAINT passage_past_bound"

PARTITIONED = f"""
-- In the order in which a batch of events takes them, or the two would wait for each other.
LOCK TABLE gateway, passage IN ACCESS EXCLUSIVE MODE;
ALTER TABLE passage RENAME TO passage_past;
ALTER TABLE passage_past RENAME CONSTRAINT passage_pkey TO passage_past_pkey;
ALTER TABLE passage_past RENAME CONSTRAINT passage_community_id_gateway_id_epoch_seq_received_at_key
    TO passage_past_delivered_once;
ALTER TABLE passage_past DROP CONSTRAINT passage_community_id_gateway_id_fkey;
CREATE TABLE passage (LIKE passage_past INCLUDING DEFAULTS INCLUDING COMMENTS) PARTITION BY RANGE (received_at);
ALTER TABLE passage ADD PRIMARY KEY (community_id, received_at, id);
ALTER TABLE passage ADD CONSTRAINT passage_delivered_once UNIQUE (community_id, gateway_id, epoch, seq, received_at);
CREATE INDEX passage_plate ON passage (community_id, plate text_pattern_ops, received_at);
ALTER TABLE passage ALTER id ADD GENERATED ALWAYS AS IDENTITY;
SELECT setval(pg_get_serial_sequence('passage', 'id'),
              coalesce(pg_sequence_last_value(pg_get_serial_sequence('passage_past', 'id')::regclass), 0) + 1, false);
ALTER TABLE passage_past ALTER id DROP IDENTITY;
DO $$
BEGIN
    EXECUTE format('ALTER TABLE passage ATTACH PARTITION passage_past FOR VALUES FROM (MINVALUE) TO (%s)',
        (SELECT substring(pg_get_constraintdef(oid) FROM $re$('[^']+')$re$)
         FROM pg_constraint WHERE conname = 'passage_past_bound'));
END $$;
ALTER TABLE passage ATTACH PARTITION passage_default DEFAULT;
ALTER TABLE passage_past DROP CONSTRAINT passage_past_bound;
REVOKE ALL ON passage_past FROM {APP};
GRANT SELECT, INSERT ON passage TO {APP};

CREATE FUNCTION protect_partition(p_table regclass) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    EXECUTE format('ALTER TABLE %s ENABLE ROW LEVEL SECURITY', p_table);
    EXECUTE format('ALTER TABLE %s FORCE ROW LEVEL SECURITY', p_table);
    EXECUTE format('CREATE POLICY tenant ON %s USING (community_id = (SELECT parkmesh_community()))', p_table);
    EXECUTE format('CREATE POLICY retention ON %s TO CURRENT_USER USING ((SELECT parkmesh_scope()) = ''retention'')',
        p_table);
END $$;
COMMENT ON FUNCTION protect_partition IS 'row-level security of a table partitioned by time and of its partitions';
SELECT protect_partition('passage');
SELECT protect_partition('passage_default');

CREATE FUNCTION make_partition(p_table text, p_day date) RETURNS boolean LANGUAGE plpgsql AS $$
DECLARE
    v_name text := p_table || '_' || to_char(p_day, 'YYYYMMDD');
    v_default text := p_table || '_default';
    v_from timestamptz := p_day::timestamp AT TIME ZONE 'UTC';
    v_until timestamptz := (p_day + 1)::timestamp AT TIME ZONE 'UTC';
    v_scope text := current_setting('parkmesh.scope', true);
BEGIN
    IF to_regclass(v_name) IS NOT NULL THEN
        RETURN false;
    END IF;
    -- Nothing for this day comes to the default partition while its rows move out.
    EXECUTE format('LOCK TABLE %I IN SHARE UPDATE EXCLUSIVE MODE', p_table);
    EXECUTE format('LOCK TABLE %I IN ACCESS EXCLUSIVE MODE', v_default);
    EXECUTE format('CREATE TABLE %I (LIKE %I INCLUDING DEFAULTS INCLUDING INDEXES,
                                     CONSTRAINT bound CHECK (received_at >= %L AND received_at < %L))',
                   v_name, p_table, v_from, v_until);
    PERFORM set_config('parkmesh.scope', 'retention', true);
    PERFORM protect_partition(v_name::regclass);
    EXECUTE format('WITH moved AS (DELETE FROM %I WHERE received_at >= %L AND received_at < %L RETURNING *)
                    INSERT INTO %I SELECT * FROM moved', v_default, v_from, v_until, v_name);
    PERFORM set_config('parkmesh.scope', coalesce(v_scope, ''), true);
    EXECUTE format('ALTER TABLE %I ATTACH PARTITION %I FOR VALUES FROM (%L) TO (%L)',
                   p_table, v_name, v_from, v_until);
    EXECUTE format('ALTER TABLE %I DROP CONSTRAINT bound', v_name);
    RETURN true;
EXCEPTION WHEN invalid_object_definition THEN
    RETURN false;
END $$;
COMMENT ON FUNCTION make_partition IS
    'make a table''s partition of a day (UTC); false where there is one already or the day belongs to passage_past';
CREATE FUNCTION make_partitions(p_days integer DEFAULT 7) RETURNS integer LANGUAGE sql AS $$
    SELECT count(*) FILTER (WHERE make_partition(t, d::date))::integer
    FROM (VALUES (1, 'passage'), (2, 'observation')) o (n, t),
         generate_series((now() AT TIME ZONE 'UTC')::date, (now() AT TIME ZONE 'UTC')::date + p_days, '1 day') d
$$;
COMMENT ON FUNCTION make_partitions IS 'make the partitions of today and the days ahead; how many were missing';
REVOKE EXECUTE ON FUNCTION protect_partition, make_partition, make_partitions FROM PUBLIC;

CREATE TABLE observation (
    community_id bigint NOT NULL,
    space_id bigint NOT NULL,
    received_at timestamptz NOT NULL,
    gateway_id bigint NOT NULL,
    epoch bigint NOT NULL,
    seq bigint NOT NULL,
    status text NOT NULL,
    PRIMARY KEY (community_id, space_id, received_at, gateway_id, epoch, seq)
) PARTITION BY RANGE (received_at);
COMMENT ON TABLE observation IS
    'what sensors said of spaces, each event once; the latest of each space is in space_state';
CREATE TABLE observation_default PARTITION OF observation DEFAULT;
GRANT SELECT, INSERT ON observation TO {APP};
SELECT protect_partition('observation');
SELECT protect_partition('observation_default');
SELECT make_partitions();
"""  # noqa: S608 - a constant of this module

TABLES = f"""
ALTER TABLE community
    ADD COLUMN access_list_epoch bigint NOT NULL DEFAULT 1 + (random() * 9007199254740000)::bigint,
    ADD COLUMN access_list_floor bigint NOT NULL DEFAULT 0;
COMMENT ON COLUMN community.access_list_epoch IS
    'which history access_list_version counts: a gateway that holds another one takes the full list';
COMMENT ON COLUMN community.access_list_floor IS
    'the changes up to this version are forgotten: a gateway that holds an older one takes the full list';
GRANT UPDATE (access_list_epoch) ON community TO {APP};

CREATE TABLE presence (
    community_id bigint NOT NULL REFERENCES community,
    plate text NOT NULL,
    inside boolean NOT NULL,
    at timestamptz NOT NULL,
    gateway_id bigint NOT NULL,
    epoch bigint NOT NULL,
    seq bigint NOT NULL,
    gate text NOT NULL,
    PRIMARY KEY (community_id, plate)
) WITH (fillfactor = 70);
COMMENT ON TABLE presence IS
    'the last word on each plate: the movement or correction with the greatest (at, gateway_id, epoch, seq)';
COMMENT ON COLUMN presence.plate IS 'of the credential where a read was a misread of it';
COMMENT ON COLUMN presence.gateway_id IS '0: a correction, whose id is in seq';
CREATE TABLE presence_correction (
    community_id bigint NOT NULL REFERENCES community,
    id bigint GENERATED ALWAYS AS IDENTITY,
    plate text NOT NULL CHECK (plate ~ '^[A-Z0-9]{{2,16}}$'),
    inside boolean NOT NULL,
    at timestamptz NOT NULL,
    reason text NOT NULL CHECK (length(reason) BETWEEN 3 AND 200),
    access_list_version bigint NOT NULL,
    PRIMARY KEY (community_id, id)
);
COMMENT ON COLUMN presence_correction.access_list_version IS 'with which it goes to the gateways';
CREATE INDEX presence_correction_version ON presence_correction (community_id, access_list_version);

CREATE TABLE passage_count (
    community_id bigint NOT NULL REFERENCES community,
    day date NOT NULL,
    gate text NOT NULL,
    direction text NOT NULL,
    decision text NOT NULL,
    reason text NOT NULL,
    passages bigint NOT NULL,
    PRIMARY KEY (community_id, day, gate, direction, decision, reason)
);
COMMENT ON TABLE passage_count IS 'what is left of passages whose time is over; the day is the community''s';

CREATE TABLE lane (
    community_id bigint NOT NULL REFERENCES community,
    id bigint GENERATED ALWAYS AS IDENTITY,
    gate_id bigint NOT NULL,
    name text NOT NULL CHECK (name ~ '^[a-z0-9]([a-z0-9-]{{0,61}}[a-z0-9])?$'),
    direction text NOT NULL CHECK (direction IN ('entry', 'exit')),
    cameras text[] NOT NULL DEFAULT '{{}}',
    PRIMARY KEY (community_id, id),
    UNIQUE (community_id, gate_id, name),
    FOREIGN KEY (community_id, gate_id) REFERENCES gate ON DELETE CASCADE
);
COMMENT ON COLUMN lane.cameras IS 'names of cameras, as in the configuration of the gateway';
CREATE TABLE gate_opening (
    community_id bigint NOT NULL REFERENCES community,
    actor text NOT NULL,
    at timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (community_id, actor, at)
);
COMMENT ON TABLE gate_opening IS 'who asked for how many openings lately: the audit trail tells the rest';

GRANT SELECT, INSERT, UPDATE, DELETE ON presence TO {APP};
GRANT SELECT, INSERT, DELETE ON presence_correction TO {APP};
GRANT SELECT ON passage_count TO {APP};
GRANT SELECT, INSERT, UPDATE, DELETE ON lane TO {APP};
GRANT SELECT, INSERT ON gate_opening TO {APP};
GRANT DELETE ON gate TO {APP};
"""

TENANT_TABLES = ("presence", "presence_correction", "passage_count", "lane", "gate_opening")

ROW_SECURITY = "".join(
    f"ALTER TABLE {table} ENABLE ROW LEVEL SECURITY; ALTER TABLE {table} FORCE ROW LEVEL SECURITY;"
    f"CREATE POLICY tenant ON {table} USING (community_id = (SELECT parkmesh_community()));"
    for table in TENANT_TABLES
) + "".join(
    f"""
    DO $$ BEGIN IF to_regclass('{table}') IS NOT NULL THEN
        CREATE POLICY retention ON {table} TO CURRENT_USER USING ((SELECT parkmesh_scope()) = 'retention');
    END IF; END $$;
    """
    for table in KEPT_FOR_A_TIME
)

# Whatever changes what a gateway decides by raises the version of the list that it holds.
ACCESS_LIST = """
CREATE OR REPLACE FUNCTION credential_updated() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM access_list_changed(c.community_id, array_agg(c.id))
        FROM after c JOIN before b USING (community_id, id)
        WHERE (c.plate, c.status, c.valid_from, c.valid_until, c.resident_id, c.visitor_pass_id)
            IS DISTINCT FROM (b.plate, b.status, b.valid_from, b.valid_until, b.resident_id, b.visitor_pass_id)
        GROUP BY c.community_id;
    RETURN NULL;
END $$;

CREATE FUNCTION resident_moved() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM access_list_changed(NEW.community_id, array_agg(c.id))
        FROM credential c WHERE c.community_id = NEW.community_id AND c.resident_id = NEW.id
        HAVING count(*) > 0;
    -- He sees what his new unit's cars do from now on, and not what those of the old one do.
    PERFORM pg_notify('parkmesh_live', NEW.community_id || ':v');
    RETURN NULL;
END $$;
CREATE TRIGGER moved AFTER UPDATE OF unit_id ON resident FOR EACH ROW
    WHEN (OLD.unit_id IS DISTINCT FROM NEW.unit_id) EXECUTE FUNCTION resident_moved();

CREATE FUNCTION unit_lots_changed() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM access_list_changed(NEW.community_id, array_agg(c.id))
        FROM credential c
        LEFT JOIN resident r ON r.community_id = c.community_id AND r.id = c.resident_id
        LEFT JOIN visitor_pass v ON v.community_id = c.community_id AND v.id = c.visitor_pass_id
        WHERE c.community_id = NEW.community_id AND NEW.id IN (r.unit_id, v.unit_id)
        HAVING count(*) > 0;
    RETURN NULL;
END $$;
CREATE TRIGGER lots_changed AFTER UPDATE OF lots ON unit FOR EACH ROW
    WHEN (OLD.lots IS DISTINCT FROM NEW.lots) EXECUTE FUNCTION unit_lots_changed();

CREATE FUNCTION rules_changed() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM access_list_changed(NEW.community_id, '{}');
    RETURN NULL;
END $$;
CREATE TRIGGER made AFTER INSERT ON community_rules FOR EACH ROW EXECUTE FUNCTION rules_changed();
CREATE TRIGGER changed AFTER UPDATE ON community_rules FOR EACH ROW WHEN (
    (OLD.lots_per_unit, OLD.anti_passback, OLD.entry_hold_s, OLD.exit_hold_s, OLD.refusal_hold_s,
     OLD.same_plate_window_s)
    IS DISTINCT FROM
    (NEW.lots_per_unit, NEW.anti_passback, NEW.entry_hold_s, NEW.exit_hold_s, NEW.refusal_hold_s,
     NEW.same_plate_window_s)
) EXECUTE FUNCTION rules_changed();

-- A gateway that is alone needs nobody's word; now it does.
CREATE FUNCTION gateway_joined() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_notify('parkmesh_gateway', g.id::text) FROM gateway g
        WHERE g.community_id = NEW.community_id AND g.id <> NEW.id;
    RETURN NULL;
END $$;
CREATE TRIGGER joined AFTER INSERT ON gateway FOR EACH ROW EXECUTE FUNCTION gateway_joined();

CREATE FUNCTION edge_beat(
    p_token bytea, p_sent bigint, p_version text, p_backlog bigint, p_list_version bigint, p_silent text[],
    OUT server_time bigint, OUT access_list_version bigint, OUT access_list_epoch bigint
) LANGUAGE plpgsql AS $$
#variable_conflict use_column
BEGIN
    -- A lost sign of life is followed by the next one: it is not worth waiting for the disk.
    PERFORM set_config('synchronous_commit', 'off', true);
    SELECT h.server_time, h.access_list_version INTO server_time, access_list_version
        FROM edge_heartbeat(p_token, p_sent, p_version, p_backlog, p_list_version, p_silent) h;
    SELECT c.access_list_epoch INTO access_list_epoch FROM community c WHERE c.id = parkmesh_community();
END $$;
COMMENT ON FUNCTION edge_beat IS 'edge_heartbeat, and which history the version of the access list counts';
"""

CORRECTION = """
CREATE FUNCTION correct_presence(p_plate text, p_inside boolean, p_reason text, OUT id bigint, OUT at timestamptz)
LANGUAGE plpgsql AS $$
#variable_conflict use_column
DECLARE
    v_community bigint := parkmesh_community();
    v_version bigint;
BEGIN
    -- The community's row first, as every change of the list does: then no two corrections of a plate cross.
    PERFORM access_list_changed(v_community, '{}');
    SELECT c.access_list_version INTO STRICT v_version FROM community c WHERE c.id = v_community;
    -- Later than what it corrects, even where a gateway's clock is ahead.
    SELECT greatest(date_trunc('milliseconds', clock_timestamp()), max(p.at) + interval '1 millisecond') INTO at
        FROM presence p WHERE p.community_id = v_community AND p.plate = p_plate;
    INSERT INTO presence_correction (community_id, plate, inside, at, reason, access_list_version)
        VALUES (v_community, p_plate, p_inside, at, p_reason, v_version)
        RETURNING presence_correction.id INTO id;
    INSERT INTO presence AS old (community_id, plate, inside, at, gateway_id, epoch, seq, gate)
        VALUES (v_community, p_plate, p_inside, at, 0, 0, id, '')
    ON CONFLICT (community_id, plate) DO UPDATE
        SET inside = excluded.inside, at = excluded.at, gateway_id = 0, epoch = 0, seq = excluded.seq, gate = ''
        WHERE (old.at, old.gateway_id, old.epoch, old.seq) < (excluded.at, 0, 0, excluded.seq);
    PERFORM pg_notify('parkmesh_live', v_community || ':p');
END $$;
COMMENT ON FUNCTION correct_presence IS 'say that a plate is inside or outside, whatever was seen before';
"""

# What changed is announced by the server, after the commit: a transaction that notifies holds a lock of the whole
# database until its commit is on disk, and no two batches would share a flush. The servers before call edge_events.
EVENTS = """
CREATE FUNCTION edge_batch(
    p_token bytea, p_epoch bigint, p_first bigint, p_last bigint,
    p_seq bigint[], p_received bigint[], p_device bigint[], p_gate text[], p_direction text[], p_plate text[],
    p_decision text[], p_reason text[], p_opened boolean[], p_credential text[], p_list_version bigint[],
    p_confidence real[], p_camera text[], p_device_event text[],
    s_seq bigint[], s_received bigint[], s_space text[], s_status text[],
    d_seq bigint[], d_received bigint[], d_kind text[], d_dropped bigint[],
    OUT outcome text, OUT epoch bigint, OUT mark bigint, OUT community_id bigint
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
    IF outcome <> 'applied' THEN
        RETURN;
    END IF;

    IF p_seq[array_upper(p_seq, 1)] > v_mark THEN
        INSERT INTO passage (community_id, gateway_id, epoch, seq, received_at, device_at, gate, direction, plate,
                             decision, reason, opened, credential_id, access_list_version, confidence, camera,
                             device_event_id)
            SELECT v_community, v_gateway, v_epoch, e.seq,
                   to_timestamp(e.received / 1000.0), to_timestamp(e.device / 1000.0),
                   e.gate, e.direction, e.plate, e.decision, e.reason, e.opened, e.credential, e.list_version,
                   e.confidence, e.camera, e.device_event
            FROM unnest(p_seq, p_received, p_device, p_gate, p_direction, p_plate, p_decision, p_reason, p_opened,
                        p_credential, p_list_version, p_confidence, p_camera, p_device_event)
                AS e(seq, received, device, gate, direction, plate, decision, reason, opened, credential, list_version,
                     confidence, camera, device_event)
            WHERE e.seq > v_mark;
        SELECT count(*) INTO v_unknown_gates FROM unnest(p_seq, p_gate) AS e(seq, gate)
            WHERE e.seq > v_mark
              AND NOT EXISTS (SELECT FROM gate k WHERE k.community_id = v_community AND k.name = e.gate);

        -- In the order of the plates, so that two gateways of a community never wait for each other in a ring.
        INSERT INTO presence AS old (community_id, plate, inside, at, gateway_id, epoch, seq, gate)
            SELECT DISTINCT ON (m.plate) v_community, m.plate, m.direction = 'entry',
                   to_timestamp(m.received / 1000.0), v_gateway, v_epoch, m.seq, m.gate
            FROM (SELECT coalesce(
                      -- One look by key for each misread: a join would compare each read with all the credentials.
                      CASE WHEN e.reason <> 'exact' AND e.credential ~ '^[0-9]{1,18}$' THEN
                          (SELECT c.plate FROM credential c
                           WHERE c.community_id = v_community AND c.id = e.credential::bigint)
                      END, e.plate) AS plate, e.direction, e.received, e.seq, e.gate
                  FROM unnest(p_seq, p_received, p_gate, p_direction, p_plate, p_decision, p_reason, p_opened,
                              p_credential)
                      AS e(seq, received, gate, direction, plate, decision, reason, opened, credential)
                  WHERE e.seq > v_mark AND e.opened AND e.decision = 'granted' AND e.plate <> '') m
            ORDER BY m.plate, m.received DESC, m.seq DESC
        ON CONFLICT (community_id, plate) DO UPDATE
            SET inside = excluded.inside, at = excluded.at, gateway_id = excluded.gateway_id, epoch = excluded.epoch,
                seq = excluded.seq, gate = excluded.gate
            WHERE (old.at, old.gateway_id, old.epoch, old.seq)
                < (excluded.at, excluded.gateway_id, excluded.epoch, excluded.seq);
    END IF;

    IF s_seq[array_upper(s_seq, 1)] > v_mark THEN
        -- In the order of the spaces, for the same reason.
        WITH seen AS (
            INSERT INTO observation (community_id, space_id, received_at, gateway_id, epoch, seq, status)
                SELECT v_community, s.id, to_timestamp(u.received / 1000.0), v_gateway, v_epoch, u.seq, u.status
                FROM unnest(s_seq, s_received, s_space, s_status) AS u(seq, received, space, status)
                JOIN space s ON s.community_id = v_community AND s.name = u.space
                WHERE u.seq > v_mark
            RETURNING *
        )
        INSERT INTO space_state AS old (community_id, space_id, status, received_at, changed_at, gateway_id)
            SELECT DISTINCT ON (e.space_id) v_community, e.space_id, e.status, e.received_at, e.received_at, v_gateway
            FROM seen e ORDER BY e.space_id, e.seq DESC
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
    END IF;

    IF array_length(d_seq, 1) > 0 THEN
        INSERT INTO gap (community_id, gateway_id, epoch, seq, received_at, kind, dropped)
            SELECT v_community, v_gateway, v_epoch, u.seq, to_timestamp(u.received / 1000.0), u.kind, u.dropped
            FROM unnest(d_seq, d_received, d_kind, d_dropped) AS u(seq, received, kind, dropped)
            WHERE u.seq > v_mark;
        SELECT least(coalesce(sum(u.dropped), 0), 4611686018427387904)::bigint INTO v_dropped
            FROM unnest(d_seq, d_dropped) AS u(seq, dropped) WHERE u.seq > v_mark;
    END IF;

    UPDATE gateway g SET epoch = v_epoch, acked = p_last, last_events_at = now(),
            unknown_gates = g.unknown_gates + v_unknown_gates, unknown_spaces = g.unknown_spaces + v_unknown_spaces,
            dropped = least(g.dropped::numeric + v_dropped, 9223372036854775807)::bigint
        WHERE g.community_id = v_community AND g.id = v_gateway;
    mark := p_last;
END $$;
COMMENT ON FUNCTION edge_batch IS
    'apply a batch and advance the mark in one transaction; outcome unidentified, stale, gap, known or applied';

CREATE OR REPLACE FUNCTION edge_events(
    p_token bytea, p_epoch bigint, p_first bigint, p_last bigint,
    p_seq bigint[], p_received bigint[], p_device bigint[], p_gate text[], p_direction text[], p_plate text[],
    p_decision text[], p_reason text[], p_opened boolean[], p_credential text[], p_list_version bigint[],
    p_confidence real[], p_camera text[], p_device_event text[],
    s_seq bigint[], s_received bigint[], s_space text[], s_status text[],
    d_seq bigint[], d_received bigint[], d_kind text[], d_dropped bigint[],
    OUT outcome text, OUT epoch bigint, OUT mark bigint
) LANGUAGE plpgsql AS $$
DECLARE
    v_community bigint;
BEGIN
    SELECT b.outcome, b.epoch, b.mark, b.community_id INTO outcome, epoch, mark, v_community FROM edge_batch(
        p_token, p_epoch, p_first, p_last, p_seq, p_received, p_device, p_gate, p_direction, p_plate,
        p_decision, p_reason, p_opened, p_credential, p_list_version, p_confidence, p_camera, p_device_event,
        s_seq, s_received, s_space, s_status, d_seq, d_received, d_kind, d_dropped
    ) b;
    IF outcome = 'applied' THEN
        PERFORM pg_notify('parkmesh_live', v_community || ':psg');
    END IF;
END $$;
COMMENT ON FUNCTION edge_events IS 'edge_batch, announced in its own transaction';
"""


def upgrade() -> None:
    driver: Any = op.get_bind().connection.dbapi_connection
    assert driver is not None

    def run(script: str) -> None:
        driver.run_async(lambda connection: connection.execute(script))

    # Alembic's transaction ends here, with the revisions before this one in it, and another begins below. Each script
    # between them is a transaction of its own.
    run("COMMIT; SET lock_timeout = '2s'")
    run(BOUND)
    run(DROP_INDEX)
    run("SET lock_timeout = 0")  # here it would bound the wait for transactions, which nobody waits behind
    run(INDEX)
    run("SET lock_timeout = '2s'")
    for script in (AHEAD, VALIDATE, "BEGIN"):
        run(script)
    for script in (PARTITIONED, TABLES, ROW_SECURITY, ACCESS_LIST, CORRECTION, EVENTS):
        run(script)


def downgrade() -> None:
    raise NotImplementedError("servers of this release cannot run without it")
