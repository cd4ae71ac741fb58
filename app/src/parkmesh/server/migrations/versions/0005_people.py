"""To be filled by its owner: people."""

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

APP = "parkmesh_app"


def upgrade() -> None:
    pass


def downgrade() -> None:
    raise NotImplementedError("servers of this release cannot run without it")
