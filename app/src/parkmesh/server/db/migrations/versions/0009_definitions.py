"""What the database holds of the files under ``db/functions`` and ``db/policies``. It belongs to no community."""

from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None

DEFINITIONS = """
CREATE TABLE definition (
    name text PRIMARY KEY,
    sha256 bytea NOT NULL,
    release integer NOT NULL,
    applied_at timestamptz NOT NULL DEFAULT now()
);
COMMENT ON TABLE definition IS 'functions, triggers and policies as they were last applied, by their files';
COMMENT ON COLUMN definition.release IS 'number of the files'' state; a release with a lower one changes nothing';
ALTER TABLE definition ENABLE ROW LEVEL SECURITY;
ALTER TABLE definition FORCE ROW LEVEL SECURITY;
CREATE POLICY owner ON definition TO CURRENT_USER USING (true);
"""


def upgrade() -> None:
    driver = op.get_bind().connection.dbapi_connection
    assert driver is not None
    driver.run_async(lambda connection: connection.execute(DEFINITIONS))


def downgrade() -> None:
    raise NotImplementedError("a schema only goes forward")
