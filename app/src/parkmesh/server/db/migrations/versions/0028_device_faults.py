"""What is wrong with a gateway's sensors and barriers.

Servers of the release before don't know the column; their gateways don't say it, as these servers don't ask.
"""

from alembic import op

revision = "0028"
down_revision = "0027"
branch_labels = None
depends_on = None

COLUMN = """
ALTER TABLE gateway ADD COLUMN device_faults text[] NOT NULL DEFAULT '{}';
COMMENT ON COLUMN gateway.device_faults IS 'kind and name of what is wrong, such as "battery_low a-01"';
"""


def upgrade() -> None:
    driver = op.get_bind().connection.dbapi_connection
    assert driver is not None
    driver.run_async(lambda connection: connection.execute(COLUMN))


def downgrade() -> None:
    raise NotImplementedError("servers of this release cannot run without this column")
