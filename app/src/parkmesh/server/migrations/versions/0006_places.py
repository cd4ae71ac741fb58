"""To be filled by its owner: places."""

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

APP = "parkmesh_app"


def upgrade() -> None:
    pass


def downgrade() -> None:
    raise NotImplementedError("servers of this release cannot run without it")
