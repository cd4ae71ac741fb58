"""Bars: plates that may not pass, whoever holds them."""

from alembic import op

from parkmesh.server.db.migrations.row_security import protect

revision = "0016"
down_revision = "0015"
branch_labels = None
depends_on = None

APP = "parkmesh_app"

TABLES = f"""
CREATE TABLE bar (
    community_id bigint NOT NULL REFERENCES community,
    id bigint GENERATED ALWAYS AS IDENTITY,
    plate text CHECK (plate ~ '^[A-Z0-9]{{2,16}}$'),
    reason text CHECK (length(reason) BETWEEN 3 AND 200),
    made_at timestamptz NOT NULL DEFAULT now(),
    lifted_at timestamptz,
    PRIMARY KEY (community_id, id),
    CHECK (lifted_at IS NOT NULL OR plate IS NOT NULL AND reason IS NOT NULL)
);
COMMENT ON TABLE bar IS 'plates that may not pass, whoever holds them';
COMMENT ON COLUMN bar.plate IS 'erased some time after the bar was lifted, as is the reason';
CREATE UNIQUE INDEX bar_of_plate ON bar (community_id, plate) WHERE lifted_at IS NULL;
COMMENT ON COLUMN access_list_change.credential_id IS 'below 0: a bar, whose id it is without the sign';

GRANT SELECT, INSERT, UPDATE ON bar TO {APP};
"""


def upgrade() -> None:
    driver = op.get_bind().connection.dbapi_connection
    assert driver is not None
    driver.run_async(lambda connection: connection.execute(TABLES + protect("bar")))


def downgrade() -> None:
    raise NotImplementedError("servers of this release cannot run without these tables")
