"""The rule that lets cars out which the list doesn't let in. Gateways hear of a change with the access list.

Servers of the release before don't know the rule: they leave it as it is, and don't tell it. What a gateway has heard
of it holds then, and where it has heard nothing, the default.
"""

from alembic import op

revision = "0026"
down_revision = "0025"
branch_labels = None
depends_on = None

RULE = """
ALTER TABLE community_rules ADD COLUMN exit_is_free boolean NOT NULL DEFAULT true;
COMMENT ON COLUMN community_rules.exit_is_free IS 'whether a car that may not come in is let out';
"""


def upgrade() -> None:
    driver = op.get_bind().connection.dbapi_connection
    assert driver is not None
    driver.run_async(lambda connection: connection.execute(RULE))


def downgrade() -> None:
    raise NotImplementedError("servers of this release cannot run without this column")
