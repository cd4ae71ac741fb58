"""Whom people write to about their data, in the words of the community: the privacy notice tells it.

Servers of the release before don't know the table, and tell administrators' addresses as they did.
"""

from alembic import op

revision = "0025"
down_revision = "0024"
branch_labels = None
depends_on = None

APP = "parkmesh_app"

TABLE = f"""
CREATE TABLE privacy_contact (
    community_id bigint PRIMARY KEY REFERENCES community,
    contact text NOT NULL CHECK (length(contact) BETWEEN 1 AND 200)
);
COMMENT ON TABLE privacy_contact IS 'whom people write to about their data';
GRANT SELECT, INSERT, UPDATE, DELETE ON privacy_contact TO {APP};
ALTER TABLE privacy_contact ENABLE ROW LEVEL SECURITY;
ALTER TABLE privacy_contact FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant ON privacy_contact USING (community_id = (SELECT parkmesh_community()));
"""


def upgrade() -> None:
    driver = op.get_bind().connection.dbapi_connection
    assert driver is not None
    driver.run_async(lambda connection: connection.execute(TABLE))


def downgrade() -> None:
    raise NotImplementedError("servers of this release cannot run without this table")
