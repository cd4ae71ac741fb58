"""Commands that open gates, with their outcome, and the gateways that have a stream open to receive them.

``gateway_stream`` refers to no gateway: servers write rows of many communities at once, and a gateway that is deleted
meanwhile must not fail them all. A row ends with the stream, or counts no longer when its server is gone.
"""

from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None

APP = "parkmesh_app"

COMMANDS = f"""
CREATE TABLE gate_command (
    community_id bigint NOT NULL REFERENCES community,
    id text NOT NULL CHECK (length(id) BETWEEN 1 AND 64),
    gate text NOT NULL,
    direction text CHECK (direction IN ('entry', 'exit')),
    actor text NOT NULL,
    reason text,
    state text NOT NULL CHECK (state IN ('refused', 'sent', 'opened', 'not_opened')),
    asked_at timestamptz NOT NULL,
    expires_at timestamptz NOT NULL,
    done_at timestamptz,
    PRIMARY KEY (community_id, id)
);
COMMENT ON TABLE gate_command IS 'requests to open a gate by hand';
COMMENT ON COLUMN gate_command.direction IS 'the gate''s own, null where it serves both';
COMMENT ON COLUMN gate_command.state IS 'refused: no gateway of the gate had a stream; opened, not_opened: what the '
    'gateway reported of the barrier. One that is still sent some seconds after expires_at was not answered';
CREATE INDEX gate_command_asked ON gate_command (community_id, asked_at);

CREATE TABLE gateway_stream (
    community_id bigint NOT NULL,
    gateway_id bigint NOT NULL,
    server_id text NOT NULL,
    server_started_at timestamptz NOT NULL,
    gates text[],
    opened_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (community_id, gateway_id)
) WITH (fillfactor = 50);
COMMENT ON TABLE gateway_stream IS 'gateways that receive commands now; a row of a server that is gone doesn''t count';
COMMENT ON COLUMN gateway_stream.gates IS 'the gates of its configuration, null from a gateway of an earlier release';
ALTER TABLE server ADD COLUMN lists_streams boolean NOT NULL DEFAULT false;
COMMENT ON COLUMN server.lists_streams IS 'false: a server of an earlier release, whose streams gateway_stream lacks';

ALTER TABLE gate_command ENABLE ROW LEVEL SECURITY;
ALTER TABLE gate_command FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant ON gate_command USING (community_id = (SELECT parkmesh_community()));
CREATE POLICY retention ON gate_command TO CURRENT_USER USING ((SELECT parkmesh_scope()) = 'retention');
ALTER TABLE gateway_stream ENABLE ROW LEVEL SECURITY;
ALTER TABLE gateway_stream FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant ON gateway_stream USING (community_id = (SELECT parkmesh_community()));
CREATE POLICY server ON gateway_stream USING ((SELECT parkmesh_scope()) = 'server');
GRANT SELECT, INSERT, UPDATE ON gate_command TO {APP};
GRANT SELECT, INSERT, UPDATE, DELETE ON gateway_stream TO {APP};
"""


def upgrade() -> None:
    driver = op.get_bind().connection.dbapi_connection
    assert driver is not None
    driver.run_async(lambda connection: connection.execute(COMMANDS))


def downgrade() -> None:
    raise NotImplementedError("servers of this release cannot run without these tables")
