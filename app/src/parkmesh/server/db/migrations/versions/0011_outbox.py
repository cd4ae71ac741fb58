"""Messages that wait to be sent, links for a forgotten password, and the languages of communities and users.

A message is written in the transaction of the act that it tells of. The scope ``outbox`` is that of the workers that
send them; the desk sees what could not be sent, without the contents.
"""

from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None

APP = "parkmesh_app"

OUTBOX = f"""
CREATE TABLE message (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    event_id uuid NOT NULL DEFAULT gen_random_uuid(),
    community_id bigint REFERENCES community,
    channel text NOT NULL CHECK (channel IN ('mail')),
    kind text NOT NULL CHECK (length(kind) BETWEEN 1 AND 60),
    recipient text NOT NULL CHECK (length(recipient) BETWEEN 1 AND 254),
    language text NOT NULL CHECK (language IN ('en', 'es')),
    payload jsonb NOT NULL DEFAULT '{{}}',
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    due_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    useless_at timestamptz,
    attempts integer NOT NULL DEFAULT 0,
    last_error text CHECK (length(last_error) <= 300),
    delivered_at timestamptz,
    dead_at timestamptz
) WITH (fillfactor = 70);
COMMENT ON TABLE message IS 'messages to people, sent at least once; event_id stays the same when one is sent again';
COMMENT ON COLUMN message.community_id IS 'null: a message about an account, such as a link for a new password';
COMMENT ON COLUMN message.payload IS 'what the text is made of; emptied when the message was delivered';
COMMENT ON COLUMN message.due_at IS 'when a worker may take it; a worker that takes it moves this on, in case it dies';
COMMENT ON COLUMN message.dead_at IS 'when it was given up';
COMMENT ON COLUMN message.useless_at IS 'when it is given up unsent: its link has ended by then';
CREATE INDEX message_due ON message (due_at) WHERE delivered_at IS NULL AND dead_at IS NULL;
CREATE INDEX message_dead ON message (id) WHERE dead_at IS NOT NULL;
CREATE INDEX message_community ON message (community_id);
CREATE INDEX message_recipient ON message (recipient);

CREATE TABLE password_link (
    token_sha256 bytea PRIMARY KEY CHECK (length(token_sha256) = 32),
    user_id bigint NOT NULL REFERENCES app_user ON DELETE CASCADE,
    created_at timestamptz NOT NULL DEFAULT now(),
    expires_at timestamptz NOT NULL,
    used_at timestamptz
);
COMMENT ON TABLE password_link IS 'links for a new password that users asked for themselves';
CREATE INDEX password_link_user ON password_link (user_id);

ALTER TABLE community ADD COLUMN language text NOT NULL DEFAULT 'en' CHECK (language IN ('en', 'es'));
COMMENT ON COLUMN community.language IS 'of messages to people who haven''t chosen one';
ALTER TABLE app_user ADD COLUMN language text CHECK (language IN ('en', 'es'));
COMMENT ON COLUMN app_user.language IS 'of messages to the user; null: the community''s';

ALTER TABLE message ENABLE ROW LEVEL SECURITY;
ALTER TABLE message FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant ON message USING (community_id = (SELECT parkmesh_community()));
CREATE POLICY account ON message USING (community_id IS NULL AND (SELECT parkmesh_scope()) = 'identity');
CREATE POLICY outbox ON message USING ((SELECT parkmesh_scope()) = 'outbox');
CREATE POLICY desk ON message FOR SELECT USING (dead_at IS NOT NULL AND (SELECT parkmesh_scope()) = 'desk');
CREATE POLICY retention ON message TO CURRENT_USER USING ((SELECT parkmesh_scope()) = 'retention');
ALTER TABLE password_link ENABLE ROW LEVEL SECURITY;
ALTER TABLE password_link FORCE ROW LEVEL SECURITY;
CREATE POLICY identity ON password_link USING ((SELECT parkmesh_scope()) = 'identity');
GRANT UPDATE (language) ON app_user TO {APP};
GRANT SELECT, INSERT, UPDATE, DELETE ON message TO {APP};
GRANT SELECT, INSERT, UPDATE, DELETE ON password_link TO {APP};
"""


def upgrade() -> None:
    driver = op.get_bind().connection.dbapi_connection
    assert driver is not None
    driver.run_async(lambda connection: connection.execute(OUTBOX))


def downgrade() -> None:
    raise NotImplementedError("servers of this release cannot run without these tables")
