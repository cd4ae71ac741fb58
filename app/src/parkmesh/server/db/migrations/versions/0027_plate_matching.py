"""How far a camera's read may be from a plate on the list and still open a gate.

Servers of the release before don't know the column: their communities keep what they have, which is the default.
"""

from alembic import op

revision = "0027"
down_revision = "0026"
branch_labels = None
depends_on = None

COLUMN = """
ALTER TABLE community_rules
    ADD COLUMN plate_matching text NOT NULL DEFAULT 'careful'
        CHECK (plate_matching IN ('exact', 'careful', 'generous'));
COMMENT ON COLUMN community_rules.plate_matching IS 'how far a read may be from a plate on the list and still open';
"""


def upgrade() -> None:
    driver = op.get_bind().connection.dbapi_connection
    assert driver is not None
    driver.run_async(lambda connection: connection.execute(COLUMN))


def downgrade() -> None:
    raise NotImplementedError("servers of this release cannot run without this column")
