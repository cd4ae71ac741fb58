"""Events: what happened in a community, for those who want to be told.

``event_progress`` is how far each gateway's passages have become events. What is stored when this revision comes is old
news: the marks start there.
"""

from alembic import op

from parkmesh.server.db.migrations.row_security import protect

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None

APP = "parkmesh_app"

TABLES = f"""
CREATE TABLE event (
    community_id bigint NOT NULL REFERENCES community,
    id bigint GENERATED ALWAYS AS IDENTITY,
    event_id uuid NOT NULL DEFAULT gen_random_uuid(),
    type text NOT NULL CHECK (type ~ '^[a-z_]+[.][a-z_]+$' AND length(type) <= 60),
    object text NOT NULL,
    data jsonb NOT NULL,
    at timestamptz NOT NULL,
    routed_at timestamptz,
    PRIMARY KEY (community_id, id)
) WITH (fillfactor = 80);
COMMENT ON TABLE event IS 'what happened in a community, for those who want to be told';
COMMENT ON COLUMN event.data IS 'ids and codes; no name, no plate';
COMMENT ON COLUMN event.routed_at IS 'when the messages to all who want to be told of it were made';
CREATE INDEX event_waiting ON event (community_id, id) WHERE routed_at IS NULL;
CREATE INDEX event_at ON event (community_id, at, id);

CREATE TABLE event_progress (
    community_id bigint NOT NULL REFERENCES community,
    gateway_id bigint NOT NULL,
    epoch bigint NOT NULL,
    seq bigint NOT NULL,
    PRIMARY KEY (community_id, gateway_id)
) WITH (fillfactor = 50);
COMMENT ON TABLE event_progress IS 'the last event of each gateway that was looked at for passages to tell of';
SELECT set_config('parkmesh.scope', 'server', true);
INSERT INTO event_progress (community_id, gateway_id, epoch, seq) SELECT community_id, id, epoch, acked FROM gateway;
SELECT set_config('parkmesh.scope', '', true);

GRANT SELECT, INSERT, UPDATE ON event TO {APP};
GRANT SELECT, INSERT, UPDATE ON event_progress TO {APP};
"""  # noqa: S608 - a constant
ROW_SECURITY = protect("event", "event_progress", server=True)


def upgrade() -> None:
    driver = op.get_bind().connection.dbapi_connection
    assert driver is not None
    driver.run_async(lambda connection: connection.execute(TABLES + ROW_SECURITY))


def downgrade() -> None:
    raise NotImplementedError("servers of this release cannot run without these tables")
