"""Calendar addresses, and how often and when bookings and passes changed; the waiting list and no-shows.

An offer of the waiting list is a booking with ``held_until``: the exclusion constraint holds its space as it does for
any other, also against servers of the previous release, which show it as a booking of the unit.
"""

from alembic import op

from parkmesh.server.db.migrations.row_security import protect

revision = "0019"
down_revision = "0018"
branch_labels = None
depends_on = None

APP = "parkmesh_app"

CHANGES = """
ALTER TABLE booking
    ADD COLUMN changes integer NOT NULL DEFAULT 0,
    ADD COLUMN changed_at timestamptz;
COMMENT ON COLUMN booking.changed_at IS 'null: not changed since this is written down';
ALTER TABLE visitor_pass
    ADD COLUMN changes integer NOT NULL DEFAULT 0,
    ADD COLUMN changed_at timestamptz;
COMMENT ON COLUMN visitor_pass.changed_at IS 'null: not changed since this is written down';
ALTER TABLE shared_window ADD COLUMN created_at timestamptz NOT NULL DEFAULT now();
"""

FEEDS = f"""
CREATE TABLE calendar_feed (
    community_id bigint NOT NULL REFERENCES community,
    user_id bigint NOT NULL,
    token_sha256 bytea NOT NULL CHECK (octet_length(token_sha256) = 32),
    created_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (community_id, user_id),
    UNIQUE (community_id, token_sha256),
    FOREIGN KEY (community_id, user_id) REFERENCES membership ON DELETE CASCADE
);
COMMENT ON TABLE calendar_feed IS 'the secret address at which a user''s calendar program reads what is theirs';
GRANT SELECT, INSERT, UPDATE, DELETE ON calendar_feed TO {APP};
"""

WAITING = f"""
ALTER TABLE booking ADD COLUMN held_until timestamptz;
COMMENT ON COLUMN booking.held_until IS 'an offer of the waiting list, until it is claimed; null: a booking';
CREATE INDEX booking_held ON booking (community_id, held_until) WHERE held_until IS NOT NULL AND status = 'active';

CREATE TABLE waiting (
    community_id bigint NOT NULL REFERENCES community,
    id bigint GENERATED ALWAYS AS IDENTITY,
    unit_id bigint NOT NULL,
    resident_id bigint,
    starts_at timestamptz NOT NULL,
    ends_at timestamptz NOT NULL,
    ev boolean NOT NULL,
    accessible boolean NOT NULL,
    level text,
    state text NOT NULL DEFAULT 'waiting' CHECK (state IN ('waiting', 'offered', 'claimed', 'lapsed', 'left')),
    offer_id bigint,
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    ended_at timestamptz,
    PRIMARY KEY (community_id, id),
    FOREIGN KEY (community_id, unit_id) REFERENCES unit,
    FOREIGN KEY (community_id, resident_id) REFERENCES resident ON DELETE SET NULL (resident_id),
    FOREIGN KEY (community_id, offer_id) REFERENCES booking,
    CHECK (starts_at < ends_at),
    CHECK (state NOT IN ('offered', 'claimed') OR offer_id IS NOT NULL),
    CHECK ((ended_at IS NULL) = (state IN ('waiting', 'offered')))
);
COMMENT ON TABLE waiting IS 'units that wait for a space in a time in which nothing is free, the first come first';
COMMENT ON COLUMN waiting.offer_id IS 'the booking that holds the space offered';
CREATE INDEX waiting_open ON waiting (community_id, created_at, id) WHERE state IN ('waiting', 'offered');
CREATE INDEX waiting_unit ON waiting (community_id, unit_id);
CREATE INDEX waiting_offer ON waiting (community_id, offer_id) WHERE offer_id IS NOT NULL;
GRANT SELECT, INSERT, UPDATE, DELETE ON waiting TO {APP};
"""

NO_SHOWS = """
ALTER TABLE community_rules
    ADD COLUMN no_show_minutes integer NOT NULL DEFAULT 0 CHECK (no_show_minutes BETWEEN 0 AND 1440);
COMMENT ON COLUMN community_rules.no_show_minutes IS 'after which a booking that nobody uses ends; 0: never';
ALTER TABLE booking ADD COLUMN no_show boolean NOT NULL DEFAULT false;
COMMENT ON COLUMN booking.no_show IS 'cancelled because nobody came';
"""

ROW_SECURITY = (
    protect("calendar_feed")
    + protect("waiting", server=True)
    + "CREATE POLICY server ON community_rules FOR SELECT USING ((SELECT parkmesh_scope()) = 'server');"
)


def upgrade() -> None:
    driver = op.get_bind().connection.dbapi_connection
    assert driver is not None
    driver.run_async(lambda connection: connection.execute(CHANGES + FEEDS + WAITING + NO_SHOWS + ROW_SECURITY))


def downgrade() -> None:
    raise NotImplementedError("servers of this release cannot run without these tables")
