"""Violations of the rules of parking, checks of plates, and how long and how often visitors may stay.

``violation`` has its present state, ``violation_step`` how it came to it. The rules are of servers from this release
on; those of the release before leave the new columns alone.
"""

from alembic import op

from parkmesh.server.db.migrations.row_security import protect

revision = "0021"
down_revision = "0020"
branch_labels = None
depends_on = None

APP = "parkmesh_app"

TABLES = f"""
CREATE TABLE violation (
    community_id bigint NOT NULL REFERENCES community,
    id bigint GENERATED ALWAYS AS IDENTITY,
    kind text NOT NULL CHECK (kind IN (
        'overstay', 'expired_pass', 'no_pass', 'in_others_space', 'resident_in_visitor_space',
        'accessible_without_permit', 'passback', 'fire_lane', 'double_parked', 'abandoned')),
    plate text CHECK (plate ~ '^[A-Z0-9]{{2,16}}$'),
    unit_id bigint,
    space_id bigint,
    stay_id bigint,
    booking_id bigint,
    since timestamptz NOT NULL,
    opened_at timestamptz NOT NULL,
    noticed_by text NOT NULL CHECK (noticed_by IN ('rule', 'staff', 'resident')),
    opened_by text NOT NULL,
    evidence text NOT NULL DEFAULT '' CHECK (length(evidence) <= 2000),
    state text NOT NULL DEFAULT 'open' CHECK (state IN ('open', 'warned', 'appealed', 'closed')),
    PRIMARY KEY (community_id, id),
    FOREIGN KEY (community_id, unit_id) REFERENCES unit ON DELETE SET NULL (unit_id),
    FOREIGN KEY (community_id, space_id) REFERENCES space ON DELETE SET NULL (space_id),
    UNIQUE (community_id, stay_id, kind),
    UNIQUE (community_id, booking_id, kind)
);
COMMENT ON TABLE violation IS 'what was noticed against the rules of parking';
COMMENT ON COLUMN violation.unit_id IS 'whose plate, visitor or booking it was when it was opened; null: unknown';
COMMENT ON COLUMN violation.stay_id IS 'no foreign key: retention deletes stays by themselves';
COMMENT ON COLUMN violation.since IS 'since when the car was wrong there, as far as known';
COMMENT ON COLUMN violation.opened_by IS 'as the audit trail names who acts';
CREATE INDEX violation_opened ON violation (community_id, opened_at, id);
CREATE INDEX violation_unit ON violation (community_id, unit_id);
CREATE INDEX violation_space ON violation (community_id, space_id);
-- Of all communities, for who looks for overstays.
CREATE INDEX violation_overstay ON violation (community_id, stay_id)
    WHERE kind = 'overstay' AND noticed_by = 'rule' AND state <> 'closed';
CREATE INDEX stay_visitor_inside ON stay (community_id, visitor_pass_id)
    WHERE left_at IS NULL AND visitor_pass_id IS NOT NULL;
CREATE INDEX booking_ended ON booking (ends_at) WHERE status = 'active';

CREATE TABLE violation_step (
    community_id bigint NOT NULL REFERENCES community,
    id bigint GENERATED ALWAYS AS IDENTITY,
    violation_id bigint NOT NULL,
    state text NOT NULL CHECK (state IN ('open', 'warned', 'appealed', 'closed')),
    at timestamptz NOT NULL,
    actor text NOT NULL,
    note text NOT NULL DEFAULT '' CHECK (length(note) <= 2000),
    PRIMARY KEY (community_id, id),
    FOREIGN KEY (community_id, violation_id) REFERENCES violation ON DELETE CASCADE
);
COMMENT ON TABLE violation_step IS 'who brought a violation into which state when, and why';
CREATE INDEX violation_step_violation ON violation_step (community_id, violation_id, id);

CREATE TABLE plate_check (
    community_id bigint NOT NULL REFERENCES community,
    id bigint GENERATED ALWAYS AS IDENTITY,
    plate text NOT NULL CHECK (plate ~ '^[A-Z0-9]{{2,16}}$'),
    space_id bigint,
    at timestamptz NOT NULL,
    asked_at timestamptz NOT NULL,
    asked_by text NOT NULL,
    allowed boolean NOT NULL,
    until timestamptz,
    by text NOT NULL CHECK (by IN ('resident', 'pass', 'booking', 'none')),
    grace boolean NOT NULL,
    reason text NOT NULL,
    PRIMARY KEY (community_id, id),
    FOREIGN KEY (community_id, space_id) REFERENCES space ON DELETE SET NULL (space_id)
);
COMMENT ON TABLE plate_check IS 'who asked whether a plate may be there, and what the answer was';
COMMENT ON COLUMN plate_check.at IS 'the moment that was asked about';
CREATE INDEX plate_check_asked ON plate_check (community_id, asked_at, id);
CREATE INDEX plate_check_space ON plate_check (community_id, space_id);

CREATE TABLE visitor_nights_exception (
    community_id bigint NOT NULL REFERENCES community,
    id bigint GENERATED ALWAYS AS IDENTITY,
    unit_id bigint NOT NULL,
    plate text NOT NULL CHECK (plate ~ '^[A-Z0-9]{{2,16}}$'),
    until timestamptz NOT NULL,
    reason text NOT NULL CHECK (length(reason) BETWEEN 3 AND 200),
    made_by text NOT NULL,
    made_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (community_id, id),
    FOREIGN KEY (community_id, unit_id) REFERENCES unit ON DELETE CASCADE
);
COMMENT ON TABLE visitor_nights_exception IS 'visitors'' cars that may stay more nights, at one unit and until an end';
CREATE INDEX visitor_nights_exception_plate ON visitor_nights_exception (community_id, unit_id, plate);

ALTER TABLE community_rules
    ADD COLUMN overstay_grace_minutes integer NOT NULL DEFAULT 30 CHECK (overstay_grace_minutes BETWEEN 0 AND 1440),
    ADD COLUMN visitor_nights_in_28_days integer NOT NULL DEFAULT 0
        CHECK (visitor_nights_in_28_days BETWEEN 0 AND 28);
COMMENT ON COLUMN community_rules.overstay_grace_minutes IS 'how long a car may stay after its pass or booking ended';
COMMENT ON COLUMN community_rules.visitor_nights_in_28_days IS 'of one plate at one unit; 0: no limit';

GRANT SELECT, INSERT, UPDATE ON violation, violation_step TO {APP};
GRANT SELECT, INSERT, DELETE ON plate_check, visitor_nights_exception TO {APP};
"""
ROW_SECURITY = protect("violation", "violation_step", "plate_check", "visitor_nights_exception")


def upgrade() -> None:
    driver = op.get_bind().connection.dbapi_connection
    assert driver is not None
    driver.run_async(lambda connection: connection.execute(TABLES + ROW_SECURITY))


def downgrade() -> None:
    raise NotImplementedError("servers of this release cannot run without these tables")
