"""Webhooks of the operator's desk, which get the events of all communities.

They are in the tables of communities' webhooks, without a community: what sends them is the same. So an endpoint's
number alone is its key, and a delivery to the desk says which community its event is of.
"""

from alembic import op

revision = "0024"
down_revision = "0023"
branch_labels = None
depends_on = None

TABLES = """
ALTER TABLE webhook_delivery
    DROP CONSTRAINT webhook_delivery_community_id_endpoint_id_fkey,
    DROP CONSTRAINT webhook_delivery_community_id_endpoint_id_event_id_key,
    DROP CONSTRAINT webhook_delivery_pkey;
ALTER TABLE webhook_endpoint DROP CONSTRAINT webhook_endpoint_pkey;
ALTER TABLE webhook_endpoint
    ALTER COLUMN community_id DROP NOT NULL,
    ADD PRIMARY KEY (id),
    ADD UNIQUE (community_id, id);
COMMENT ON COLUMN webhook_endpoint.community_id IS 'whose events it gets; null: those of all communities, for the desk';

ALTER TABLE webhook_delivery
    ALTER COLUMN community_id DROP NOT NULL,
    ADD COLUMN about bigint REFERENCES community ON DELETE CASCADE CHECK (about IS NULL OR community_id IS NULL),
    ADD PRIMARY KEY (endpoint_id, id),
    ADD UNIQUE NULLS NOT DISTINCT (community_id, endpoint_id, event_id),
    ADD FOREIGN KEY (endpoint_id) REFERENCES webhook_endpoint ON DELETE CASCADE,
    ADD FOREIGN KEY (community_id, endpoint_id) REFERENCES webhook_endpoint (community_id, id) ON DELETE CASCADE;
COMMENT ON COLUMN webhook_delivery.community_id IS 'the endpoint''s; null: the desk''s';
COMMENT ON COLUMN webhook_delivery.about IS 'of which community the event is; null: of community_id';
DROP INDEX webhook_delivery_due;
CREATE INDEX webhook_delivery_due ON webhook_delivery (endpoint_id, due_at)
    WHERE delivered_at IS NULL AND dead_at IS NULL;
CREATE INDEX webhook_delivery_about ON webhook_delivery (about) WHERE about IS NOT NULL;
"""
ROW_SECURITY = (
    "".join(
        f"""
        CREATE POLICY outside ON {table} USING (community_id IS NULL AND (SELECT parkmesh_scope()) = 'provision');
        CREATE POLICY desk ON {table} FOR SELECT USING (community_id IS NULL AND (SELECT parkmesh_scope()) = 'desk');
        """
        for table in ("webhook_endpoint", "webhook_delivery")
    )
    + "CREATE POLICY provision ON event FOR SELECT USING ((SELECT parkmesh_scope()) = 'provision');"
)


def upgrade() -> None:
    driver = op.get_bind().connection.dbapi_connection
    assert driver is not None
    driver.run_async(lambda connection: connection.execute(TABLES + ROW_SECURITY))


def downgrade() -> None:
    raise NotImplementedError("servers of this release cannot run without these tables")
