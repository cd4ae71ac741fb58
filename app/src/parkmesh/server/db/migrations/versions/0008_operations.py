"""Operations: which servers are alive, and that the application may know which schema it has.

``server`` belongs to no community and says nothing of any: everybody who is connected as the application may read it,
in whatever transaction (the edge door tells gateways the list while it works for a community). It is written in the
scope ``server`` alone.
"""

from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

APP = "parkmesh_app"

SERVERS = f"""
CREATE TABLE server (
    id text PRIMARY KEY CHECK (length(id) BETWEEN 1 AND 255),
    edge_url text NOT NULL,
    web_url text,
    version text NOT NULL,
    started_at timestamptz NOT NULL,
    last_seen_at timestamptz NOT NULL DEFAULT now(),
    draining boolean NOT NULL DEFAULT false
) WITH (fillfactor = 50);
COMMENT ON TABLE server IS 'application servers; one that dies without a word leaves its row behind for a while';
COMMENT ON COLUMN server.edge_url IS 'where gateways reach it: its address in the overlay';
COMMENT ON COLUMN server.web_url IS 'where its web door listens, null where that is every address of the machine';
COMMENT ON COLUMN server.last_seen_at IS 'by the clock of the database, every 10 seconds';
COMMENT ON COLUMN server.draining IS 'takes no new work: it is about to end';
ALTER TABLE server ENABLE ROW LEVEL SECURITY;
ALTER TABLE server FORCE ROW LEVEL SECURITY;
CREATE POLICY everybody ON server FOR SELECT USING (true);
CREATE POLICY itself ON server USING ((SELECT parkmesh_scope()) = 'server');
GRANT SELECT, INSERT, UPDATE, DELETE ON server TO {APP};
GRANT SELECT ON alembic_version TO {APP};
"""


def upgrade() -> None:
    driver = op.get_bind().connection.dbapi_connection
    assert driver is not None
    driver.run_async(lambda connection: connection.execute(SERVERS))


def downgrade() -> None:
    raise NotImplementedError("servers of this release cannot run without this table")
