"""Webhooks: where a community's events are sent, and what was sent.

A secret must be readable to sign with it. It is kept as it is, guarded by row level security as the links of unsent
mails are: the servers' own secret is replaced at will, and secrets encrypted with it would be lost then.
"""

from alembic import op

from parkmesh.server.db.migrations.row_security import protect

revision = "0017"
down_revision = "0016"
branch_labels = None
depends_on = None

APP = "parkmesh_app"

TABLES = f"""
CREATE TABLE webhook_endpoint (
    community_id bigint NOT NULL REFERENCES community,
    id bigint GENERATED ALWAYS AS IDENTITY,
    url text NOT NULL CHECK (length(url) BETWEEN 1 AND 500),
    types text[] CHECK (cardinality(types) BETWEEN 1 AND 200),
    include text[] NOT NULL DEFAULT '{{}}' CHECK (include <@ ARRAY['plate']),
    secret bytea NOT NULL CHECK (length(secret) BETWEEN 24 AND 64),
    previous_secret bytea CHECK (length(previous_secret) BETWEEN 24 AND 64),
    previous_until timestamptz,
    enabled boolean NOT NULL DEFAULT true,
    stopped_why text CHECK (stopped_why IN ('failing', 'gone')),
    failing_since timestamptz,
    made_by text NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (community_id, id),
    CHECK ((previous_secret IS NULL) = (previous_until IS NULL))
);
COMMENT ON TABLE webhook_endpoint IS 'where events of a community are sent';
COMMENT ON COLUMN webhook_endpoint.types IS 'which events it gets; null: all';
COMMENT ON COLUMN webhook_endpoint.include IS 'what events tell beside ids';
COMMENT ON COLUMN webhook_endpoint.previous_until IS 'until when requests are signed with the previous secret too';
COMMENT ON COLUMN webhook_endpoint.stopped_why IS 'why the server switched it off; null: a person did, or it is on';
COMMENT ON COLUMN webhook_endpoint.failing_since IS 'the first failure after the last success';

CREATE TABLE webhook_delivery (
    community_id bigint NOT NULL REFERENCES community,
    id bigint GENERATED ALWAYS AS IDENTITY,
    endpoint_id bigint NOT NULL,
    event_id uuid NOT NULL,
    event bigint,
    type text NOT NULL,
    at timestamptz NOT NULL,
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    due_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    leased_until timestamptz,
    attempts integer NOT NULL DEFAULT 0,
    last_at timestamptz,
    last_status integer,
    last_error text CHECK (length(last_error) <= 300),
    delivered_at timestamptz,
    dead_at timestamptz,
    PRIMARY KEY (community_id, id),
    UNIQUE (community_id, endpoint_id, event_id),
    FOREIGN KEY (community_id, endpoint_id) REFERENCES webhook_endpoint ON DELETE CASCADE
) WITH (fillfactor = 70);
COMMENT ON TABLE webhook_delivery IS 'what an endpoint was or will be sent: each event once, tried several times';
COMMENT ON COLUMN webhook_delivery.event_id IS 'the receiver''s key: the same at every attempt';
COMMENT ON COLUMN webhook_delivery.event IS 'the event; null: a test. Its content is read when it is sent';
COMMENT ON COLUMN webhook_delivery.due_at IS 'when a worker may take it; one that does moves it on, in case it dies';
COMMENT ON COLUMN webhook_delivery.leased_until IS 'how long a worker has it; null: no worker has it';
COMMENT ON COLUMN webhook_delivery.dead_at IS 'when it was given up';
CREATE INDEX webhook_delivery_due ON webhook_delivery (community_id, endpoint_id, due_at)
    WHERE delivered_at IS NULL AND dead_at IS NULL;
CREATE INDEX webhook_delivery_created ON webhook_delivery (created_at);

GRANT SELECT, INSERT, UPDATE, DELETE ON webhook_endpoint, webhook_delivery TO {APP};
"""
ROW_SECURITY = (
    protect("webhook_endpoint", "webhook_delivery")
    + """
CREATE POLICY webhooks ON webhook_endpoint FOR SELECT USING ((SELECT parkmesh_scope()) = 'webhooks');
CREATE POLICY webhooks ON webhook_delivery USING ((SELECT parkmesh_scope()) = 'webhooks');
"""
)


def upgrade() -> None:
    driver = op.get_bind().connection.dbapi_connection
    assert driver is not None
    driver.run_async(lambda connection: connection.execute(TABLES + ROW_SECURITY))


def downgrade() -> None:
    raise NotImplementedError("servers of this release cannot run without these tables")
