"""Facility counters: vehicles that loops and light barriers count in and out.

Servers of the release before don't know the table; their gateways don't say what they counted, as these servers don't
ask.
"""

from alembic import op

revision = "0032"
down_revision = "0031"
branch_labels = None
depends_on = None

APP = "parkmesh_app"

TABLE = f"""
CREATE TABLE counter (
    community_id bigint NOT NULL,
    gateway_id bigint NOT NULL,
    name text NOT NULL CHECK (length(name) BETWEEN 1 AND 63),
    capacity integer CHECK (capacity > 0),
    since timestamptz NOT NULL,
    entries bigint NOT NULL CHECK (entries >= 0),
    exits bigint NOT NULL CHECK (exits >= 0),
    carried bigint NOT NULL DEFAULT 0,
    known boolean NOT NULL,
    told_at timestamptz,
    corrected_at timestamptz,
    PRIMARY KEY (community_id, gateway_id, name),
    FOREIGN KEY (community_id, gateway_id) REFERENCES gateway ON DELETE CASCADE
) WITH (fillfactor = 70);
COMMENT ON TABLE counter IS 'what a gateway counted: vehicles inside are carried + entries - exits, over all gateways';
COMMENT ON COLUMN counter.since IS 'when this count began, at zero';
COMMENT ON COLUMN counter.carried IS 'vehicles of earlier counts, and what staff corrected';
COMMENT ON COLUMN counter.known IS 'false: its detectors are silent or offline';
COMMENT ON COLUMN counter.told_at IS 'when its detectors spoke last';

GRANT SELECT, INSERT, UPDATE, DELETE ON counter TO {APP};
ALTER TABLE counter ENABLE ROW LEVEL SECURITY;
ALTER TABLE counter FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant ON counter USING (community_id = (SELECT parkmesh_community()));
"""


def upgrade() -> None:
    driver = op.get_bind().connection.dbapi_connection
    assert driver is not None
    driver.run_async(lambda connection: connection.execute(TABLE))


def downgrade() -> None:
    raise NotImplementedError("servers of this release cannot run without this table")
