"""Releases that gateways fetch by themselves, in parts, and which gateway should take which.

Servers of the release before tell no gateway of them.
"""

from alembic import op

revision = "0031"
down_revision = "0030"
branch_labels = None
depends_on = None

APP = "parkmesh_app"

TABLES = f"""
CREATE TABLE gateway_release (
    serial bigint PRIMARY KEY CHECK (serial > 0),
    release text NOT NULL CHECK (release ~ '^[0-9a-f]{{12}}$'),
    python text NOT NULL,
    arch text NOT NULL,
    manifest bytea NOT NULL CHECK (octet_length(manifest) <= 4194304),
    signature bytea NOT NULL CHECK (octet_length(signature) = 64),
    published_at timestamptz NOT NULL DEFAULT now()
);
COMMENT ON TABLE gateway_release IS 'releases that gateways may fetch; the key that signs them is on no server';
COMMENT ON COLUMN gateway_release.serial IS 'goes up with each publication; a gateway takes no lower one afterwards';
COMMENT ON COLUMN gateway_release.manifest IS 'compressed (zlib); the signature is of what it is uncompressed';

CREATE TABLE gateway_release_part (
    sha256 bytea PRIMARY KEY CHECK (octet_length(sha256) = 32),
    content bytea NOT NULL CHECK (octet_length(content) <= 16777216)
);
ALTER TABLE gateway_release_part ALTER COLUMN content SET STORAGE EXTERNAL;
COMMENT ON TABLE gateway_release_part IS 'files of releases, compressed (zlib), by the digest of their content';

CREATE TABLE gateway_release_order (
    community_id bigint NOT NULL,
    gateway_id bigint NOT NULL,
    serial bigint NOT NULL REFERENCES gateway_release ON DELETE CASCADE,
    state text NOT NULL DEFAULT 'wanted' CHECK (state IN ('wanted', 'kept', 'put back', 'refused')),
    reason text NOT NULL DEFAULT '' CHECK (length(reason) <= 1000),
    ordered_at timestamptz NOT NULL DEFAULT now(),
    reported_at timestamptz,
    PRIMARY KEY (community_id, gateway_id),
    FOREIGN KEY (community_id, gateway_id) REFERENCES gateway ON DELETE CASCADE
) WITH (fillfactor = 70);
CREATE INDEX gateway_release_order_serial ON gateway_release_order (serial);
COMMENT ON TABLE gateway_release_order IS 'the release that a gateway should take at its next contact, and how it went';
COMMENT ON COLUMN gateway_release_order.reason IS 'why it was put back or refused, or couldn''t be taken yet';

GRANT SELECT, INSERT, DELETE ON gateway_release, gateway_release_part TO {APP};
GRANT SELECT, INSERT, UPDATE, DELETE ON gateway_release_order TO {APP};

ALTER TABLE gateway_release ENABLE ROW LEVEL SECURITY;
ALTER TABLE gateway_release FORCE ROW LEVEL SECURITY;
CREATE POLICY everybody ON gateway_release FOR SELECT USING (true);
CREATE POLICY server ON gateway_release USING ((SELECT parkmesh_scope()) = 'server');
ALTER TABLE gateway_release_part ENABLE ROW LEVEL SECURITY;
ALTER TABLE gateway_release_part FORCE ROW LEVEL SECURITY;
CREATE POLICY everybody ON gateway_release_part FOR SELECT USING (true);
CREATE POLICY server ON gateway_release_part USING ((SELECT parkmesh_scope()) = 'server');
ALTER TABLE gateway_release_order ENABLE ROW LEVEL SECURITY;
ALTER TABLE gateway_release_order FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant ON gateway_release_order USING (community_id = (SELECT parkmesh_community()));
CREATE POLICY server ON gateway_release_order USING ((SELECT parkmesh_scope()) = 'server');
CREATE POLICY desk ON gateway_release_order FOR SELECT USING ((SELECT parkmesh_scope()) = 'desk');
CREATE POLICY retention ON gateway_release_order TO CURRENT_USER USING ((SELECT parkmesh_scope()) = 'retention');
"""


def upgrade() -> None:
    driver = op.get_bind().connection.dbapi_connection
    assert driver is not None
    driver.run_async(lambda connection: connection.execute(TABLES))


def downgrade() -> None:
    raise NotImplementedError("servers of this release cannot run without these tables")
