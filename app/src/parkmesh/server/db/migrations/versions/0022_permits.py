"""Permits for accessible spaces, and the rule that asks for them.

Servers of the previous release know neither: until they are gone, they book accessible spaces for everybody.
"""

from alembic import op

revision = "0022"
down_revision = "0021"
branch_labels = None
depends_on = None

APP = "parkmesh_app"

TABLES = f"""
CREATE TABLE permit (
    community_id bigint NOT NULL REFERENCES community,
    resident_id bigint NOT NULL,
    number text CHECK (length(number) BETWEEN 1 AND 60),
    valid_until date NOT NULL,
    PRIMARY KEY (community_id, resident_id),
    FOREIGN KEY (community_id, resident_id) REFERENCES resident
);
COMMENT ON TABLE permit IS 'residents who may park in accessible spaces';
COMMENT ON COLUMN permit.number IS 'what is printed on it; null: not entered';
COMMENT ON COLUMN permit.valid_until IS 'its last day by the community''s clock';
GRANT SELECT, INSERT, UPDATE, DELETE ON permit TO {APP};

ALTER TABLE community_rules ADD COLUMN accessible_needs_permit boolean NOT NULL DEFAULT false;
COMMENT ON COLUMN community_rules.accessible_needs_permit IS 'whether accessible spaces are booked with a permit only';

ALTER TABLE permit ENABLE ROW LEVEL SECURITY;
ALTER TABLE permit FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant ON permit USING (community_id = (SELECT parkmesh_community()));
CREATE POLICY retention ON permit TO CURRENT_USER USING ((SELECT parkmesh_scope()) = 'retention');
"""


def upgrade() -> None:
    driver = op.get_bind().connection.dbapi_connection
    assert driver is not None
    driver.run_async(lambda connection: connection.execute(TABLES))


def downgrade() -> None:
    raise NotImplementedError("servers of this release cannot run without this table")
