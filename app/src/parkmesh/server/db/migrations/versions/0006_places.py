"""Places and who has them when: levels and their map, assignments, sharing, bookings, visitor passes.

Times that must not overlap are held apart by exclusion constraints on ``(community, space, [starts_at, ends_at))``,
with ``btree_gist`` (a trusted extension: the database's owner may create it). The bounds are columns of their own:
comparing them is leakproof, so that row-level security leaves an index on them useful, unlike a range's operators.

A space's shared times are written down twice: the rules that a unit made (``sharing_rule``, ``sharing_exception``), and
the concrete windows that follow from them (``shared_window``), which bookings are checked against. Every change of
either is made with the space's row locked (``parkmesh.server.sharing``).

The previous release keeps working: it writes a space with a level's name and reads no new column; the trigger on
``space`` makes the level that it names.
"""

from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

APP = "parkmesh_app"

LEVELS = """
CREATE TABLE level (
    community_id bigint NOT NULL REFERENCES community,
    id bigint GENERATED ALWAYS AS IDENTITY,
    name text NOT NULL,
    ordinal integer NOT NULL DEFAULT 0 CHECK (ordinal BETWEEN -1000 AND 1000),
    width double precision CHECK (width > 0 AND width <= 100000),
    height double precision CHECK (height > 0 AND height <= 100000),
    PRIMARY KEY (community_id, id),
    UNIQUE (community_id, name),
    CHECK ((width IS NULL) = (height IS NULL))
);
COMMENT ON COLUMN level.ordinal IS 'the order of levels, lowest first';
COMMENT ON COLUMN level.width IS 'of the map, in the unit that the spaces'' geometry is in; null: no map is drawn';

ALTER TABLE space
    ADD COLUMN ev boolean NOT NULL DEFAULT false,
    ADD COLUMN accessible boolean NOT NULL DEFAULT false,
    ADD COLUMN x double precision CHECK (x BETWEEN 0 AND 100000),
    ADD COLUMN y double precision CHECK (y BETWEEN 0 AND 100000),
    ADD COLUMN w double precision CHECK (w > 0 AND w <= 100000),
    ADD COLUMN h double precision CHECK (h > 0 AND h <= 100000),
    ADD COLUMN rotation double precision CHECK (rotation >= 0 AND rotation < 360),
    ADD CONSTRAINT space_geometry CHECK (num_nulls(x, y, w, h, rotation) IN (0, 5));
COMMENT ON COLUMN space.level IS 'name of the level';
COMMENT ON COLUMN space.x IS 'of the corner with the smallest x and y before the turn; null: no place on the map';
COMMENT ON COLUMN space.rotation IS 'degrees clockwise about the centre';

CREATE FUNCTION space_names_level() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO level (community_id, name) VALUES (NEW.community_id, NEW.level)
        ON CONFLICT (community_id, name) DO NOTHING;
    RETURN NEW;
END $$;
COMMENT ON FUNCTION space_names_level IS 'a level exists as soon as a space is said to be on it';

-- The owner is under row-level security too while it is forced; nobody else looks before this transaction is over.
ALTER TABLE space NO FORCE ROW LEVEL SECURITY;
INSERT INTO level (community_id, name) SELECT DISTINCT community_id, level FROM space ORDER BY 1, 2;
ALTER TABLE space FORCE ROW LEVEL SECURITY;

CREATE TRIGGER names_level BEFORE INSERT OR UPDATE OF level ON space FOR EACH ROW EXECUTE FUNCTION space_names_level();
ALTER TABLE space ADD CONSTRAINT space_level FOREIGN KEY (community_id, level) REFERENCES level (community_id, name)
    ON UPDATE CASCADE NOT VALID;
CREATE INDEX space_level ON space (community_id, level);
"""

ASSIGNMENTS = """
CREATE EXTENSION IF NOT EXISTS btree_gist;
CREATE TABLE space_assignment (
    community_id bigint NOT NULL REFERENCES community,
    id bigint GENERATED ALWAYS AS IDENTITY,
    space_id bigint NOT NULL,
    unit_id bigint NOT NULL,
    starts_at timestamptz NOT NULL,
    ends_at timestamptz,
    created_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (community_id, id),
    FOREIGN KEY (community_id, space_id) REFERENCES space,
    FOREIGN KEY (community_id, unit_id) REFERENCES unit,
    CHECK (starts_at < ends_at),
    CONSTRAINT space_assignment_overlap EXCLUDE USING gist (
        community_id WITH =, space_id WITH =, tstzrange(starts_at, ends_at) WITH &&)
);
COMMENT ON COLUMN space_assignment.ends_at IS 'null: until further notice';
CREATE INDEX space_assignment_unit ON space_assignment (community_id, unit_id);
"""

SHARING = """
CREATE TABLE sharing_rule (
    community_id bigint NOT NULL REFERENCES community,
    id bigint GENERATED ALWAYS AS IDENTITY,
    space_id bigint NOT NULL,
    unit_id bigint NOT NULL,
    starts_at timestamptz,
    ends_at timestamptz,
    days smallint CHECK (days BETWEEN 1 AND 127),
    starts_time time,
    ends_time time,
    first_day date,
    last_day date,
    created_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (community_id, id),
    FOREIGN KEY (community_id, space_id) REFERENCES space,
    FOREIGN KEY (community_id, unit_id) REFERENCES unit,
    CHECK (starts_at < ends_at),
    CHECK (first_day <= last_day),
    CHECK (num_nulls(starts_at, ends_at) = 0 AND num_nonnulls(days, starts_time, ends_time, first_day, last_day) = 0
           OR num_nonnulls(starts_at, ends_at) = 0 AND num_nulls(days, starts_time, ends_time, first_day) = 0)
);
COMMENT ON TABLE sharing_rule IS 'a unit shares its space: once (starts_at to ends_at) or every week (the others)';
COMMENT ON COLUMN sharing_rule.days IS 'days of the week on which it begins, Monday is bit 0';
COMMENT ON COLUMN sharing_rule.starts_time IS 'by the community''s clock';
COMMENT ON COLUMN sharing_rule.ends_time IS 'on the next day where it is not later than starts_time';
CREATE INDEX sharing_rule_space ON sharing_rule (community_id, space_id);
CREATE TABLE sharing_exception (
    community_id bigint NOT NULL REFERENCES community,
    id bigint GENERATED ALWAYS AS IDENTITY,
    space_id bigint NOT NULL,
    unit_id bigint NOT NULL,
    day date,
    starts_at timestamptz,
    ends_at timestamptz,
    PRIMARY KEY (community_id, id),
    UNIQUE (community_id, space_id, unit_id, day),
    FOREIGN KEY (community_id, space_id) REFERENCES space,
    FOREIGN KEY (community_id, unit_id) REFERENCES unit,
    CHECK (starts_at < ends_at),
    CHECK (num_nonnulls(starts_at, ends_at) = CASE WHEN day IS NULL THEN 2 ELSE 0 END)
);
COMMENT ON TABLE sharing_exception IS 'when a unit does not share, whatever its rules say: a day, or a time taken back';
CREATE TABLE shared_window (
    community_id bigint NOT NULL REFERENCES community,
    id bigint GENERATED ALWAYS AS IDENTITY,
    space_id bigint NOT NULL,
    unit_id bigint NOT NULL,
    starts_at timestamptz NOT NULL,
    ends_at timestamptz NOT NULL,
    PRIMARY KEY (community_id, id),
    FOREIGN KEY (community_id, space_id) REFERENCES space,
    FOREIGN KEY (community_id, unit_id) REFERENCES unit,
    CHECK (starts_at < ends_at),
    CONSTRAINT shared_window_overlap EXCLUDE USING gist (
        community_id WITH =, space_id WITH =, tstzrange(starts_at, ends_at) WITH &&)
);
COMMENT ON TABLE shared_window IS 'what follows from rules, exceptions, assignments; never two that touch of one unit';
CREATE INDEX shared_window_space ON shared_window (community_id, space_id, ends_at);
CREATE TABLE sharing_progress (
    community_id bigint NOT NULL REFERENCES community,
    space_id bigint NOT NULL,
    known_until timestamptz NOT NULL,
    time_zone text NOT NULL,
    PRIMARY KEY (community_id, space_id),
    FOREIGN KEY (community_id, space_id) REFERENCES space
);
COMMENT ON TABLE sharing_progress IS 'how far into the future, and by which clock, a space''s shared windows are known';
"""

PASSES = """
CREATE TABLE visitor_pass (
    community_id bigint NOT NULL REFERENCES community,
    id bigint GENERATED ALWAYS AS IDENTITY,
    unit_id bigint NOT NULL,
    resident_id bigint,
    name text,
    plate text CHECK (plate ~ '^[A-Z0-9]{2,16}$'),
    starts_at timestamptz NOT NULL,
    ends_at timestamptz NOT NULL,
    month date NOT NULL,
    status text NOT NULL DEFAULT 'active' CHECK (status IN ('active', 'cancelled')),
    cancelled_at timestamptz,
    cancel_reason text,
    token_sha256 bytea NOT NULL CHECK (octet_length(token_sha256) = 32),
    plate_attempts integer NOT NULL DEFAULT 0,
    created_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (community_id, id),
    UNIQUE (community_id, token_sha256),
    FOREIGN KEY (community_id, unit_id) REFERENCES unit,
    FOREIGN KEY (community_id, resident_id) REFERENCES resident ON DELETE SET NULL (resident_id),
    CHECK (starts_at < ends_at),
    CHECK ((status = 'cancelled') = (cancelled_at IS NOT NULL))
);
COMMENT ON COLUMN visitor_pass.month IS 'first day of the month whose quota it counts in, by the community''s clock';
COMMENT ON COLUMN visitor_pass.plate_attempts IS 'how often the visitor himself tried to say his plate';
CREATE INDEX visitor_pass_unit ON visitor_pass (community_id, unit_id, month);
CREATE INDEX visitor_pass_order ON visitor_pass (community_id, starts_at, id);

ALTER TABLE credential ADD COLUMN visitor_pass_id bigint;
ALTER TABLE credential ADD CONSTRAINT credential_visitor_pass
    FOREIGN KEY (community_id, visitor_pass_id) REFERENCES visitor_pass NOT VALID;
CREATE UNIQUE INDEX credential_holder ON credential (community_id, plate, resident_id) NULLS NOT DISTINCT
    WHERE visitor_pass_id IS NULL;
CREATE UNIQUE INDEX credential_visitor_pass ON credential (community_id, visitor_pass_id)
    WHERE visitor_pass_id IS NOT NULL;
ALTER TABLE credential DROP CONSTRAINT credential_community_id_plate_resident_id_key;

CREATE FUNCTION credential_of_cancelled_pass() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF EXISTS (SELECT FROM visitor_pass p WHERE p.community_id = NEW.community_id AND p.id = NEW.visitor_pass_id
                                            AND p.status = 'cancelled') THEN
        NEW.status := 'revoked';
    END IF;
    RETURN NEW;
END $$;
COMMENT ON FUNCTION credential_of_cancelled_pass IS 'restoring a plate does not bring back a visitor''s cancelled pass';
CREATE TRIGGER cancelled_pass BEFORE UPDATE OF status ON credential FOR EACH ROW
    WHEN (NEW.visitor_pass_id IS NOT NULL AND NEW.status = 'active') EXECUTE FUNCTION credential_of_cancelled_pass();

CREATE TABLE visitor_directions (
    community_id bigint PRIMARY KEY REFERENCES community,
    directions text NOT NULL
);
COMMENT ON TABLE visitor_directions IS 'how a visitor finds his way, in the words of the community';
"""

BOOKINGS = """
CREATE TABLE booking (
    community_id bigint NOT NULL REFERENCES community,
    id bigint GENERATED ALWAYS AS IDENTITY,
    space_id bigint NOT NULL,
    unit_id bigint NOT NULL,
    resident_id bigint,
    visitor_pass_id bigint,
    starts_at timestamptz NOT NULL,
    ends_at timestamptz NOT NULL,
    status text NOT NULL DEFAULT 'active' CHECK (status IN ('active', 'cancelled')),
    cancelled_at timestamptz,
    cancel_reason text,
    created_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (community_id, id),
    FOREIGN KEY (community_id, space_id) REFERENCES space,
    FOREIGN KEY (community_id, unit_id) REFERENCES unit,
    FOREIGN KEY (community_id, resident_id) REFERENCES resident ON DELETE SET NULL (resident_id),
    FOREIGN KEY (community_id, visitor_pass_id) REFERENCES visitor_pass,
    CHECK (starts_at < ends_at),
    CHECK ((status = 'cancelled') = (cancelled_at IS NOT NULL)),
    CONSTRAINT booking_overlap EXCLUDE USING gist (
        community_id WITH =, space_id WITH =, tstzrange(starts_at, ends_at) WITH &&) WHERE (status = 'active')
);
CREATE INDEX booking_space ON booking (community_id, space_id, ends_at) WHERE status = 'active';
CREATE INDEX booking_unit ON booking (community_id, unit_id, ends_at);
CREATE INDEX booking_order ON booking (community_id, starts_at, id);
CREATE INDEX booking_visitor_pass ON booking (community_id, visitor_pass_id) WHERE visitor_pass_id IS NOT NULL;
"""

TENANT_TABLES = (
    "level",
    "space_assignment",
    "sharing_rule",
    "sharing_exception",
    "shared_window",
    "sharing_progress",
    "visitor_pass",
    "visitor_directions",
    "booking",
)

GRANTS = f"""
GRANT SELECT, INSERT, UPDATE, DELETE ON level, space_assignment, sharing_rule TO {APP};
GRANT SELECT, INSERT, DELETE ON sharing_exception, shared_window TO {APP};
GRANT SELECT, INSERT, UPDATE, DELETE ON sharing_progress TO {APP};
GRANT SELECT, INSERT, UPDATE ON visitor_pass, booking TO {APP};
GRANT SELECT, INSERT, UPDATE ON visitor_directions TO {APP};
GRANT DELETE ON space, space_state TO {APP};
"""

ROW_SECURITY = "".join(
    f"ALTER TABLE {table} ENABLE ROW LEVEL SECURITY; ALTER TABLE {table} FORCE ROW LEVEL SECURITY;"
    for table in TENANT_TABLES
)
POLICIES = "".join(
    f"CREATE POLICY tenant ON {table} USING (community_id = (SELECT parkmesh_community()));" for table in TENANT_TABLES
)


def upgrade() -> None:
    driver = op.get_bind().connection.dbapi_connection
    assert driver is not None
    for script in (LEVELS, ASSIGNMENTS, SHARING, PASSES, BOOKINGS, ROW_SECURITY, POLICIES, GRANTS):
        driver.run_async(lambda connection, script=script: connection.execute(script))


def downgrade() -> None:
    raise NotImplementedError("servers of this release cannot run without these tables")
