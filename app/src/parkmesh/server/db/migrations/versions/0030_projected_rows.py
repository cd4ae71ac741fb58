"""What servers make of passages isn't checked against the table of communities, as passages themselves aren't.

For a hundred events the check looked up the community a hundred times: for movements, stays and seen plates.
The servers write these rows in the community that they are in (row-level security demands it), and the deletion of a
community goes through every table that has a ``community_id``.
"""

from alembic import op

revision = "0030"
down_revision = "0029"
branch_labels = None
depends_on = None

CONSTRAINTS = """
ALTER TABLE movement DROP CONSTRAINT IF EXISTS movement_community_id_fkey;
ALTER TABLE stay DROP CONSTRAINT IF EXISTS stay_community_id_fkey;
ALTER TABLE seen_plate DROP CONSTRAINT IF EXISTS seen_plate_community_id_fkey;
"""


def upgrade() -> None:
    driver = op.get_bind().connection.dbapi_connection
    assert driver is not None
    driver.run_async(lambda connection: connection.execute(CONSTRAINTS))


def downgrade() -> None:
    raise NotImplementedError("rows of communities that are gone could be there")
