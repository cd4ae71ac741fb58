"""To be filled by its owner: audit."""

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

APP = "parkmesh_app"


def upgrade() -> None:
    pass


def downgrade() -> None:
    raise NotImplementedError("servers of this release cannot run without it")
