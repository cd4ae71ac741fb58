"""Auditors: members of a community who read what its administrators read, and change nothing.

The role has its own word. Servers of the previous release don't know it: to them an auditor's session has no rights at
all, they answer it, and lists that contain it, with an error until they are replaced. No word that they know would do:
they would let a ``reader`` with a session change things, and a ``resident`` open gates where the rules allow it.
"""

from alembic import op

revision = "0020"
down_revision = "0019"
branch_labels = None
depends_on = None

ROLES = """
ALTER TABLE membership DROP CONSTRAINT membership_role_check,
    ADD CONSTRAINT membership_role_check CHECK (role IN ('administrator', 'auditor', 'resident'));
ALTER TABLE invitation DROP CONSTRAINT invitation_role_check,
    ADD CONSTRAINT invitation_role_check CHECK (role IN ('administrator', 'auditor', 'resident'));
"""


def upgrade() -> None:
    driver = op.get_bind().connection.dbapi_connection
    assert driver is not None
    driver.run_async(lambda connection: connection.execute(ROLES))


def downgrade() -> None:
    raise NotImplementedError("servers of this release cannot run without this role")
