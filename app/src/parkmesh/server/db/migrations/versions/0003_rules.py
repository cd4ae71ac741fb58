"""The rules of a community: what its administrators decide about gates, visitors and lots.

One row per community that changed anything; a community without a row has the defaults of the columns
(``parkmesh.server.rules`` reads both the same way).
"""

from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

APP = "parkmesh_app"

RULES = f"""
CREATE TABLE community_rules (
    community_id bigint PRIMARY KEY REFERENCES community,
    lots_per_unit integer CHECK (lots_per_unit BETWEEN 0 AND 1000),
    anti_passback text NOT NULL DEFAULT 'off' CHECK (anti_passback IN ('off', 'soft', 'hard')),
    entry_hold_s integer NOT NULL DEFAULT 0 CHECK (entry_hold_s BETWEEN 0 AND 60),
    exit_hold_s integer NOT NULL DEFAULT 0 CHECK (exit_hold_s BETWEEN 0 AND 60),
    refusal_hold_s integer NOT NULL DEFAULT 5 CHECK (refusal_hold_s BETWEEN 0 AND 600),
    same_plate_window_s integer NOT NULL DEFAULT 30 CHECK (same_plate_window_s BETWEEN 1 AND 3600),
    residents_open_gates boolean NOT NULL DEFAULT false,
    visitors_open_gates boolean NOT NULL DEFAULT false,
    visitor_passes_per_unit integer NOT NULL DEFAULT 10 CHECK (visitor_passes_per_unit BETWEEN 0 AND 10000),
    visitor_pass_max_hours integer NOT NULL DEFAULT 72 CHECK (visitor_pass_max_hours BETWEEN 1 AND 8760),
    booking_max_hours integer NOT NULL DEFAULT 336 CHECK (booking_max_hours BETWEEN 1 AND 8760),
    booking_days_ahead integer NOT NULL DEFAULT 60 CHECK (booking_days_ahead BETWEEN 1 AND 730),
    bookings_per_unit integer NOT NULL DEFAULT 5 CHECK (bookings_per_unit BETWEEN 0 AND 1000)
);
COMMENT ON COLUMN community_rules.lots_per_unit IS 'cars of a unit inside at once; null: no limit';
COMMENT ON COLUMN community_rules.entry_hold_s IS 'seconds to wait before the barrier opens for an entry';
COMMENT ON COLUMN community_rules.refusal_hold_s IS 'seconds that an unmatched read waits before it is a refusal';
COMMENT ON COLUMN community_rules.same_plate_window_s IS 'seconds in which reads of one plate are one passage';
COMMENT ON COLUMN community_rules.visitors_open_gates IS 'who has the link of a pass may, while the pass is valid';
COMMENT ON COLUMN community_rules.visitor_passes_per_unit IS 'passes of a unit per calendar month of the community';
COMMENT ON COLUMN community_rules.bookings_per_unit IS 'bookings of a unit that are not over yet';
ALTER TABLE community_rules ENABLE ROW LEVEL SECURITY;
ALTER TABLE community_rules FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant ON community_rules USING (community_id = (SELECT parkmesh_community()));
GRANT SELECT, INSERT, UPDATE ON community_rules TO {APP};
"""


def upgrade() -> None:
    driver = op.get_bind().connection.dbapi_connection
    assert driver is not None
    driver.run_async(lambda connection: connection.execute(RULES))


def downgrade() -> None:
    raise NotImplementedError("servers of this release cannot run without this table")
