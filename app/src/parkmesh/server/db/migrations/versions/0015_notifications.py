"""Who is told of what: preferences, quiet hours, gateways that are offline, and digests.

The scope ``mails`` is that of the workers that send mails of every kind. Servers of the release before work in
``outbox``, which shows them only the kinds that they can make: they would give up the others.
"""

from alembic import op

from parkmesh.server.db.migrations.row_security import protect

revision = "0015"
down_revision = "0014"
branch_labels = None
depends_on = None

APP = "parkmesh_app"

TABLES = f"""
CREATE TABLE notification_preference (
    user_id bigint NOT NULL REFERENCES app_user ON DELETE CASCADE,
    community_id bigint REFERENCES community,
    kind text NOT NULL CHECK (length(kind) BETWEEN 1 AND 60),
    wanted boolean NOT NULL,
    UNIQUE NULLS NOT DISTINCT (community_id, user_id, kind)
);
COMMENT ON TABLE notification_preference IS 'which e-mails a user wants, where it isn''t what everybody gets';
COMMENT ON COLUMN notification_preference.community_id IS 'null: e-mails to the operator''s desk';
CREATE INDEX notification_preference_user ON notification_preference (user_id);

ALTER TABLE app_user ADD COLUMN quiet_from time, ADD COLUMN quiet_until time;
ALTER TABLE app_user ADD CONSTRAINT quiet_hours CHECK ((quiet_from IS NULL) = (quiet_until IS NULL));
COMMENT ON COLUMN app_user.quiet_from IS 'until quiet_until, by a community''s clock, no e-mails of it are sent';

CREATE TABLE gateway_outage (
    community_id bigint NOT NULL REFERENCES community,
    gateway_id bigint NOT NULL,
    heard_at timestamptz NOT NULL,
    PRIMARY KEY (community_id, gateway_id)
);
COMMENT ON TABLE gateway_outage IS 'gateways that were found offline and of which it was told';

CREATE TABLE digest (
    community_id bigint PRIMARY KEY REFERENCES community,
    day date NOT NULL
);
COMMENT ON TABLE digest IS 'the last day of each community of which its administrators were told';

ALTER TABLE visitor_pass ADD COLUMN arrived_at timestamptz;
COMMENT ON COLUMN visitor_pass.arrived_at IS 'when a gate first opened for the visitor';

GRANT UPDATE (quiet_from, quiet_until) ON app_user TO {APP};
GRANT SELECT, INSERT, UPDATE, DELETE ON notification_preference, gateway_outage TO {APP};
GRANT SELECT, INSERT, UPDATE ON digest TO {APP};

CREATE POLICY identity ON notification_preference USING ((SELECT parkmesh_scope()) = 'identity');

CREATE POLICY server ON community FOR SELECT USING ((SELECT parkmesh_scope()) = 'server');

DROP POLICY outbox ON message;
CREATE POLICY outbox ON message
    USING (kind IN ('invitation', 'password-link') AND (SELECT parkmesh_scope()) = 'outbox');
CREATE POLICY mails ON message USING ((SELECT parkmesh_scope()) = 'mails');
"""
ROW_SECURITY = protect("notification_preference") + protect("gateway_outage", "digest", server=True)


def upgrade() -> None:
    driver = op.get_bind().connection.dbapi_connection
    assert driver is not None
    driver.run_async(lambda connection: connection.execute(TABLES + ROW_SECURITY))


def downgrade() -> None:
    raise NotImplementedError("servers of this release cannot run without these tables")
