"""The core: communities, people, credentials, gates, gateways, spaces, passages, and the rules of who sees which row.

Every table has row-level security enabled and forced. A tenant's table carries ``community_id`` first in its keys and
shows the rows of the community named by ``parkmesh.community`` in the transaction, nothing where that is unset.
``parkmesh.server.database`` lists the settings and who may set them.

``passage`` is a plain table that is ready to be partitioned by ``received_at``: every unique key contains it. The
``received_at`` of an event never differs between two deliveries, so the key on ``(gateway, epoch, seq, received_at)``
still stops a doubled event, as a backstop behind the mark that the ingestion function keeps.
"""

from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

APP = "parkmesh_app"

SETTINGS = """
CREATE FUNCTION parkmesh_community() RETURNS bigint LANGUAGE sql STABLE PARALLEL SAFE
    AS $$ SELECT nullif(current_setting('parkmesh.community', true), '')::bigint $$;
CREATE FUNCTION parkmesh_user() RETURNS bigint LANGUAGE sql STABLE PARALLEL SAFE
    AS $$ SELECT nullif(current_setting('parkmesh.user', true), '')::bigint $$;
CREATE FUNCTION parkmesh_scope() RETURNS text LANGUAGE sql STABLE PARALLEL SAFE
    AS $$ SELECT coalesce(current_setting('parkmesh.scope', true), '') $$;
CREATE FUNCTION parkmesh_gateway_token() RETURNS bytea LANGUAGE sql STABLE PARALLEL SAFE
    AS $$ SELECT decode(nullif(current_setting('parkmesh.gateway_token', true), ''), 'hex') $$;
"""

TABLES = r"""
CREATE TABLE community (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name text NOT NULL UNIQUE CHECK (name ~ '^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$'),
    title text NOT NULL,
    time_zone text NOT NULL,
    access_list_version bigint NOT NULL DEFAULT 0,
    created_at timestamptz NOT NULL DEFAULT now()
);
CREATE TABLE app_user (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    email text NOT NULL UNIQUE CHECK (email = lower(email)),
    name text NOT NULL,
    password_hash text,
    operator boolean NOT NULL DEFAULT false,
    active boolean NOT NULL DEFAULT true,
    created_at timestamptz NOT NULL DEFAULT now()
);
CREATE TABLE web_session (
    token_sha256 bytea PRIMARY KEY CHECK (octet_length(token_sha256) = 32),
    user_id bigint NOT NULL REFERENCES app_user ON DELETE CASCADE,
    created_at timestamptz NOT NULL DEFAULT now(),
    last_seen_at timestamptz NOT NULL DEFAULT now(),
    expires_at timestamptz NOT NULL,
    revoked_at timestamptz
);
CREATE INDEX web_session_user ON web_session (user_id);
CREATE TABLE sign_in_attempt (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    account_sha256 bytea NOT NULL,
    address inet NOT NULL,
    at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX sign_in_attempt_account ON sign_in_attempt (account_sha256, address, at);
CREATE INDEX sign_in_attempt_address ON sign_in_attempt (address, at);

CREATE TABLE unit (
    community_id bigint NOT NULL REFERENCES community,
    id bigint GENERATED ALWAYS AS IDENTITY,
    name text NOT NULL,
    PRIMARY KEY (community_id, id),
    UNIQUE (community_id, name)
);
CREATE TABLE resident (
    community_id bigint NOT NULL REFERENCES community,
    id bigint GENERATED ALWAYS AS IDENTITY,
    email text NOT NULL CHECK (email = lower(email)),
    name text NOT NULL,
    unit_id bigint,
    PRIMARY KEY (community_id, id),
    UNIQUE (community_id, email),
    FOREIGN KEY (community_id, unit_id) REFERENCES unit
);
CREATE TABLE membership (
    community_id bigint NOT NULL REFERENCES community,
    user_id bigint NOT NULL REFERENCES app_user ON DELETE CASCADE,
    role text NOT NULL CHECK (role IN ('administrator', 'resident')),
    resident_id bigint,
    PRIMARY KEY (community_id, user_id),
    FOREIGN KEY (community_id, resident_id) REFERENCES resident
);
CREATE INDEX membership_user ON membership (user_id);
CREATE TABLE credential (
    community_id bigint NOT NULL REFERENCES community,
    id bigint GENERATED ALWAYS AS IDENTITY,
    plate text NOT NULL CHECK (plate ~ '^[A-Z0-9]{2,16}$'),
    status text NOT NULL DEFAULT 'active' CHECK (status IN ('active', 'revoked')),
    resident_id bigint,
    valid_from timestamptz,
    valid_until timestamptz,
    created_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (community_id, id),
    UNIQUE NULLS NOT DISTINCT (community_id, plate, resident_id),
    FOREIGN KEY (community_id, resident_id) REFERENCES resident,
    CHECK (valid_from < valid_until)
);
CREATE TABLE access_list_change (
    community_id bigint NOT NULL REFERENCES community,
    version bigint NOT NULL,
    credential_id bigint NOT NULL,
    at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (community_id, version, credential_id)
);

CREATE TABLE gate (
    community_id bigint NOT NULL REFERENCES community,
    id bigint GENERATED ALWAYS AS IDENTITY,
    name text NOT NULL,
    title text NOT NULL,
    direction text NOT NULL CHECK (direction IN ('entry', 'exit', 'both')),
    PRIMARY KEY (community_id, id),
    UNIQUE (community_id, name)
);
CREATE TABLE gateway (
    community_id bigint NOT NULL REFERENCES community,
    id bigint GENERATED ALWAYS AS IDENTITY,
    name text NOT NULL,
    token_sha256 bytea NOT NULL UNIQUE CHECK (octet_length(token_sha256) = 32),
    epoch bigint NOT NULL DEFAULT 0,
    acked bigint NOT NULL DEFAULT 0,
    last_heartbeat_at timestamptz,
    last_events_at timestamptz,
    version text,
    backlog bigint,
    clock_skew_ms bigint,
    access_list_version bigint,
    silent_cameras text[] NOT NULL DEFAULT '{}',
    unknown_gates bigint NOT NULL DEFAULT 0,
    unknown_spaces bigint NOT NULL DEFAULT 0,
    dropped bigint NOT NULL DEFAULT 0,
    PRIMARY KEY (community_id, id),
    UNIQUE (community_id, name)
) WITH (fillfactor = 70);
COMMENT ON COLUMN gateway.acked IS 'highest seq of epoch whose effect is applied: everything at or below it is';
COMMENT ON COLUMN gateway.unknown_spaces IS 'space states that named no space of the community, see unknown_space';
COMMENT ON COLUMN gateway.dropped IS 'records that the gateway reports to have dropped, see gap';

CREATE TABLE space (
    community_id bigint NOT NULL REFERENCES community,
    id bigint GENERATED ALWAYS AS IDENTITY,
    name text NOT NULL,
    level text NOT NULL DEFAULT '',
    category text NOT NULL DEFAULT 'shared',
    PRIMARY KEY (community_id, id),
    UNIQUE (community_id, name)
);
CREATE TABLE space_state (
    community_id bigint NOT NULL REFERENCES community,
    space_id bigint NOT NULL,
    status text NOT NULL CHECK (status IN ('free', 'occupied', 'unknown')),
    received_at timestamptz NOT NULL,
    changed_at timestamptz NOT NULL,
    gateway_id bigint NOT NULL,
    PRIMARY KEY (community_id, space_id),
    FOREIGN KEY (community_id, space_id) REFERENCES space,
    FOREIGN KEY (community_id, gateway_id) REFERENCES gateway
) WITH (fillfactor = 70);
CREATE TABLE unknown_space (
    community_id bigint NOT NULL REFERENCES community,
    gateway_id bigint NOT NULL,
    name text NOT NULL,
    events bigint NOT NULL,
    last_status text NOT NULL,
    last_received_at timestamptz NOT NULL,
    PRIMARY KEY (community_id, gateway_id, name),
    FOREIGN KEY (community_id, gateway_id) REFERENCES gateway
);
CREATE TABLE passage (
    community_id bigint NOT NULL REFERENCES community,
    id bigint GENERATED ALWAYS AS IDENTITY,
    gateway_id bigint NOT NULL,
    epoch bigint NOT NULL,
    seq bigint NOT NULL,
    received_at timestamptz NOT NULL,
    device_at timestamptz,
    stored_at timestamptz NOT NULL DEFAULT now(),
    gate text NOT NULL,
    direction text NOT NULL,
    plate text NOT NULL,
    decision text NOT NULL,
    reason text NOT NULL,
    opened boolean,
    credential_id text,
    access_list_version bigint NOT NULL,
    confidence real,
    camera text,
    device_event_id text,
    PRIMARY KEY (community_id, received_at, id),
    UNIQUE (community_id, gateway_id, epoch, seq, received_at),
    FOREIGN KEY (community_id, gateway_id) REFERENCES gateway
);
COMMENT ON COLUMN passage.gate IS 'as the gateway named it: a gate that the community does not know loses no passage';
CREATE TABLE gap (
    community_id bigint NOT NULL REFERENCES community,
    gateway_id bigint NOT NULL,
    epoch bigint NOT NULL,
    seq bigint NOT NULL,
    received_at timestamptz NOT NULL,
    kind text NOT NULL,
    dropped bigint NOT NULL,
    PRIMARY KEY (community_id, gateway_id, epoch, seq),
    FOREIGN KEY (community_id, gateway_id) REFERENCES gateway
);
CREATE TABLE audit_entry (
    community_id bigint NOT NULL REFERENCES community,
    id bigint GENERATED ALWAYS AS IDENTITY,
    at timestamptz NOT NULL DEFAULT now(),
    user_id bigint NOT NULL REFERENCES app_user,
    action text NOT NULL,
    object text NOT NULL,
    detail jsonb NOT NULL DEFAULT '{}',
    PRIMARY KEY (community_id, id)
);
"""

SYSTEM_TABLES = ("community", "app_user", "web_session", "sign_in_attempt")
TENANT_TABLES = (
    "unit",
    "resident",
    "membership",
    "credential",
    "access_list_change",
    "gate",
    "gateway",
    "space",
    "space_state",
    "unknown_space",
    "passage",
    "gap",
    "audit_entry",
)

# The sub-selects make PostgreSQL read each setting once per statement instead of once per row.
POLICIES = """
CREATE POLICY tenant ON community FOR SELECT USING (id = (SELECT parkmesh_community()));
CREATE POLICY tenant_update ON community FOR UPDATE USING (id = (SELECT parkmesh_community()));
CREATE POLICY desk ON community FOR SELECT USING ((SELECT parkmesh_scope()) = 'desk');
CREATE POLICY member ON community FOR SELECT USING (
    (SELECT parkmesh_scope()) = 'identity'
    AND EXISTS (SELECT FROM membership m WHERE m.community_id = id AND m.user_id = (SELECT parkmesh_user())));
CREATE POLICY provision ON community USING ((SELECT parkmesh_scope()) = 'provision');

CREATE POLICY identity ON app_user USING ((SELECT parkmesh_scope()) IN ('identity', 'provision'));
CREATE POLICY identity ON web_session USING ((SELECT parkmesh_scope()) IN ('identity', 'provision'));
CREATE POLICY identity ON sign_in_attempt USING ((SELECT parkmesh_scope()) = 'identity');

CREATE POLICY member ON membership FOR SELECT USING (
    (SELECT parkmesh_scope()) = 'identity' AND user_id = (SELECT parkmesh_user()));
CREATE POLICY desk ON gateway FOR SELECT USING ((SELECT parkmesh_scope()) = 'desk');
CREATE POLICY itself ON gateway FOR SELECT USING (token_sha256 = (SELECT parkmesh_gateway_token()));
"""

GRANTS = f"""
GRANT SELECT, INSERT ON community TO {APP};
GRANT UPDATE (title, time_zone, access_list_version) ON community TO {APP};
GRANT SELECT, INSERT ON app_user TO {APP};
GRANT UPDATE (name, password_hash, operator, active) ON app_user TO {APP};
GRANT SELECT, INSERT, DELETE ON web_session TO {APP};
GRANT UPDATE (last_seen_at, revoked_at) ON web_session TO {APP};
GRANT SELECT, INSERT, DELETE ON sign_in_attempt TO {APP};
GRANT SELECT, INSERT, UPDATE ON unit, resident, membership, credential, gate, gateway, space TO {APP};
GRANT SELECT, INSERT, UPDATE ON space_state, unknown_space TO {APP};
GRANT SELECT, INSERT ON access_list_change, passage, gap, audit_entry TO {APP};
"""

# A change of a credential, by whatever path, raises the community's version once per statement, logs which credentials
# changed, and tells every server. The row lock on the community orders the versions as they are committed.
ACCESS_LIST = """
CREATE FUNCTION access_list_changed(p_community bigint, p_credentials bigint[]) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    v_version bigint;
BEGIN
    UPDATE community SET access_list_version = access_list_version + 1 WHERE id = p_community
        RETURNING access_list_version INTO STRICT v_version;
    INSERT INTO access_list_change (community_id, version, credential_id)
        SELECT p_community, v_version, unnest(p_credentials);
    PERFORM pg_notify('parkmesh_access_list', p_community || ':' || v_version);
END $$;

CREATE FUNCTION credential_inserted() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM access_list_changed(c.community_id, array_agg(c.id)) FROM after c GROUP BY c.community_id;
    RETURN NULL;
END $$;
CREATE FUNCTION credential_updated() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM access_list_changed(c.community_id, array_agg(c.id))
        FROM after c JOIN before b USING (community_id, id)
        WHERE (c.plate, c.status, c.valid_from, c.valid_until)
            IS DISTINCT FROM (b.plate, b.status, b.valid_from, b.valid_until)
        GROUP BY c.community_id;
    RETURN NULL;
END $$;
CREATE FUNCTION credential_deleted() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM access_list_changed(b.community_id, array_agg(b.id)) FROM before b GROUP BY b.community_id;
    RETURN NULL;
END $$;
CREATE TRIGGER inserted AFTER INSERT ON credential REFERENCING NEW TABLE AS after
    FOR EACH STATEMENT EXECUTE FUNCTION credential_inserted();
CREATE TRIGGER updated AFTER UPDATE ON credential REFERENCING OLD TABLE AS before NEW TABLE AS after
    FOR EACH STATEMENT EXECUTE FUNCTION credential_updated();
CREATE TRIGGER deleted AFTER DELETE ON credential REFERENCING OLD TABLE AS before
    FOR EACH STATEMENT EXECUTE FUNCTION credential_deleted();
"""

# Streams that are open when a token, a session or a role ends must end with it.
REVOCATIONS = """
CREATE FUNCTION gateway_token_changed() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_notify('parkmesh_gateway', OLD.id::text);
    RETURN NULL;
END $$;
CREATE TRIGGER token_changed AFTER UPDATE OF token_sha256 ON gateway FOR EACH ROW
    WHEN (OLD.token_sha256 IS DISTINCT FROM NEW.token_sha256) EXECUTE FUNCTION gateway_token_changed();

CREATE FUNCTION user_rights_changed() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_notify('parkmesh_user', (to_jsonb(OLD) ->> TG_ARGV[0]));
    RETURN NULL;
END $$;
CREATE TRIGGER revoked AFTER UPDATE OF revoked_at OR DELETE ON web_session FOR EACH ROW
    EXECUTE FUNCTION user_rights_changed('user_id');
CREATE TRIGGER rights_changed AFTER UPDATE OF operator, active ON app_user FOR EACH ROW
    EXECUTE FUNCTION user_rights_changed('id');
CREATE TRIGGER rights_changed AFTER UPDATE OR DELETE ON membership FOR EACH ROW
    EXECUTE FUNCTION user_rights_changed('user_id');
"""


def upgrade() -> None:
    driver = op.get_bind().connection.dbapi_connection
    assert driver is not None
    row_security = "".join(
        f"ALTER TABLE {table} ENABLE ROW LEVEL SECURITY; ALTER TABLE {table} FORCE ROW LEVEL SECURITY;"
        for table in SYSTEM_TABLES + TENANT_TABLES
    )
    tenants = "".join(
        f"CREATE POLICY tenant ON {table} USING (community_id = (SELECT parkmesh_community()));"
        for table in TENANT_TABLES
    )
    for script in (SETTINGS, TABLES, row_security, tenants, POLICIES, GRANTS, ACCESS_LIST, REVOCATIONS):
        driver.run_async(lambda connection, script=script: connection.execute(script))


def downgrade() -> None:
    raise NotImplementedError("the first schema has nothing before it: restore a backup instead")
