"""Another key for the codes of visitor passes: those before it stay for as long as codes that they signed are valid.

Servers of the release before know no codes.
"""

from alembic import op

revision = "0034"
down_revision = "0033"
branch_labels = None
depends_on = None

APP = "parkmesh_app"

TABLES = f"""
ALTER TABLE pass_key
    ADD COLUMN number integer NOT NULL DEFAULT 1 CHECK (number > 0),
    ADD COLUMN renewed_at timestamptz,
    ADD COLUMN list_version bigint NOT NULL DEFAULT 0;
COMMENT ON COLUMN pass_key.number IS 'goes up with each renewal';
COMMENT ON COLUMN pass_key.renewed_at IS 'null: it is the community''s first key';
COMMENT ON COLUMN pass_key.list_version IS 'the first access list with this key';
GRANT UPDATE ON pass_key TO {APP};

CREATE TABLE former_pass_key (
    community_id bigint NOT NULL REFERENCES community,
    number integer NOT NULL CHECK (number > 0),
    signing bytea NOT NULL CHECK (length(signing) = 32),
    PRIMARY KEY (community_id, number)
);
COMMENT ON TABLE former_pass_key IS 'keys that signed codes of visitor passes which are not over; they sign no more';
GRANT SELECT, INSERT ON former_pass_key TO {APP};

ALTER TABLE pass_code ADD COLUMN key integer NOT NULL DEFAULT 1 CHECK (key > 0);
COMMENT ON COLUMN pass_code.key IS 'the number of the key that signed it';

ALTER TABLE former_pass_key ENABLE ROW LEVEL SECURITY;
ALTER TABLE former_pass_key FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant ON former_pass_key USING (community_id = (SELECT parkmesh_community()));
CREATE POLICY retention ON former_pass_key TO CURRENT_USER USING ((SELECT parkmesh_scope()) = 'retention');
"""


def upgrade() -> None:
    driver = op.get_bind().connection.dbapi_connection
    assert driver is not None
    driver.run_async(lambda connection: connection.execute(TABLES))


def downgrade() -> None:
    raise NotImplementedError("servers of this release cannot run without this table")
