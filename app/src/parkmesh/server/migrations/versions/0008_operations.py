"""To be filled by its owner: operations."""

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

APP = "parkmesh_app"


def upgrade() -> None:
    pass


def downgrade() -> None:
    raise NotImplementedError("servers of this release cannot run without it")
