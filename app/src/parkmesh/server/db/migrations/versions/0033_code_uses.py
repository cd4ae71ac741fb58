"""When and in which direction the code of a visitor pass opened a gate last: the community's other gateways hear it.

Servers of the release before know no codes.
"""

from alembic import op

revision = "0033"
down_revision = "0032"
branch_labels = None
depends_on = None

COLUMNS = """
ALTER TABLE pass_code
    ADD COLUMN used text CHECK (used IN ('entry', 'exit')),
    ADD COLUMN used_at timestamptz,
    ADD CHECK ((used IS NULL) = (used_at IS NULL));
COMMENT ON COLUMN pass_code.used IS 'the direction in which its code opened a gate last; null: it opened none';
"""


def upgrade() -> None:
    driver = op.get_bind().connection.dbapi_connection
    assert driver is not None
    driver.run_async(lambda connection: connection.execute(COLUMNS))


def downgrade() -> None:
    raise NotImplementedError("servers of this release cannot run without these columns")
