"""QR codes and PINs of visitor passes, and the rule that uses them.

Servers of the release before know none of them: the passes that they make have no code until they get a new link.
"""

from alembic import op

revision = "0029"
down_revision = "0028"
branch_labels = None
depends_on = None

APP = "parkmesh_app"

TABLES = f"""
CREATE TABLE pass_key (
    community_id bigint PRIMARY KEY REFERENCES community,
    signing bytea NOT NULL CHECK (length(signing) = 32),
    pins bytea NOT NULL CHECK (length(pins) = 32)
);
COMMENT ON TABLE pass_key IS 'what a community''s codes of visitor passes are made with';
COMMENT ON COLUMN pass_key.signing IS 'gateways get it with the access list';
COMMENT ON COLUMN pass_key.pins IS 'what PINs are made of; it never leaves the servers';
GRANT SELECT, INSERT ON pass_key TO {APP};

CREATE TABLE pass_code (
    community_id bigint NOT NULL REFERENCES community,
    visitor_pass_id bigint NOT NULL,
    number bigint NOT NULL CHECK (number BETWEEN 1 AND 4294967295),
    pin text NOT NULL CHECK (pin ~ '^[0-9a-f]{{32}}$'),
    PRIMARY KEY (community_id, visitor_pass_id),
    UNIQUE (community_id, pin),
    FOREIGN KEY (community_id, visitor_pass_id) REFERENCES visitor_pass ON DELETE CASCADE
);
COMMENT ON TABLE pass_code IS 'the QR code and the PIN of each visitor pass';
COMMENT ON COLUMN pass_code.number IS 'goes up with each new link; lower ones open nothing';
COMMENT ON COLUMN pass_code.pin IS 'what gateways compare with a PIN that was typed';
GRANT SELECT, INSERT, UPDATE ON pass_code TO {APP};

ALTER TABLE community_rules ADD COLUMN visitor_codes boolean NOT NULL DEFAULT false;
COMMENT ON COLUMN community_rules.visitor_codes IS 'whether visitors get a QR code and a PIN for the gates';

ALTER TABLE pass_key ENABLE ROW LEVEL SECURITY;
ALTER TABLE pass_key FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant ON pass_key USING (community_id = (SELECT parkmesh_community()));
CREATE POLICY retention ON pass_key TO CURRENT_USER USING ((SELECT parkmesh_scope()) = 'retention');
ALTER TABLE pass_code ENABLE ROW LEVEL SECURITY;
ALTER TABLE pass_code FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant ON pass_code USING (community_id = (SELECT parkmesh_community()));
CREATE POLICY retention ON pass_code TO CURRENT_USER USING ((SELECT parkmesh_scope()) = 'retention');
"""


def upgrade() -> None:
    driver = op.get_bind().connection.dbapi_connection
    assert driver is not None
    driver.run_async(lambda connection: connection.execute(TABLES))


def downgrade() -> None:
    raise NotImplementedError("servers of this release cannot run without these tables")
