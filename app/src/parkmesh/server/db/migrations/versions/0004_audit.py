r"""The audit trail as a chain of hashes, keys for integrators, answers kept for repeats; offboarding; limits.

**The chain.** Every community has a chain of its own, and so have the acts outside of communities (community 0). An
entry is linked when its transaction commits, under a lock on the chain's head that is held for the commit alone: taken
last, it can't take part in a deadlock. ``audit_link`` holds, for the entry at place ``seq``::

    detail_sha256 = sha256(salt || detail as text)
    hash          = sha256(previous || netstrings of community_id, seq, entry id, time in microseconds since 1970,
                           actor, user id or nothing, action, object, hex of detail_sha256)

``previous`` is the hash of the entry before, 32 zero bytes for the first. A netstring is ``<bytes>:<text>,``.
``parkmesh verify-audit`` computes the same in Python.

The chain is computed here and not in the server because servers of the release before write entries too.

**Erasure.** What may hold personal data of an act is its detail (a reason that somebody typed). The chain holds only
the salted hash of it, so ``audit_redact`` can take detail and salt away and the chain still holds. That is the one
change that the table admits, and the act of it is an entry itself, without which ``verify-audit`` reports the gap.
Entries are deleted only with their community, by the owner, once its deletion is due (``parkmesh.server.deletion``).
"""

from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

APP = "parkmesh_app"

ENTRIES = """
ALTER TABLE audit_entry
    DROP CONSTRAINT audit_entry_community_id_fkey,
    ALTER COLUMN user_id DROP NOT NULL,
    ALTER COLUMN detail DROP NOT NULL,
    ADD COLUMN actor text,
    ADD COLUMN salt bytea;
ALTER TABLE audit_entry ALTER COLUMN salt SET DEFAULT uuid_send(gen_random_uuid());
COMMENT ON COLUMN audit_entry.community_id IS '0: an act outside of communities';
COMMENT ON COLUMN audit_entry.actor IS 'user:<id>, api-key:<id> or system:<part>';
COMMENT ON COLUMN audit_entry.detail IS 'null: erased, see audit_redact';

CREATE TABLE audit_chain (
    community_id bigint PRIMARY KEY,
    entries bigint NOT NULL CHECK (entries >= 0),
    hash bytea NOT NULL CHECK (octet_length(hash) = 32)
);
COMMENT ON TABLE audit_chain IS 'the end of each chain: how many entries it has, and the hash of the last one';
CREATE TABLE audit_link (
    community_id bigint NOT NULL,
    seq bigint NOT NULL CHECK (seq > 0),
    entry_id bigint NOT NULL,
    detail_sha256 bytea NOT NULL,
    previous bytea NOT NULL,
    hash bytea NOT NULL,
    PRIMARY KEY (community_id, seq),
    UNIQUE (community_id, entry_id),
    FOREIGN KEY (community_id, entry_id) REFERENCES audit_entry
);
"""

CHAIN = """
CREATE FUNCTION audit_hash(
    p_previous bytea, p_community bigint, p_seq bigint, p_entry bigint, p_at timestamptz, p_actor text, p_user bigint,
    p_action text, p_object text, p_detail_sha256 bytea
) RETURNS bytea LANGUAGE sql IMMUTABLE AS $$
    SELECT sha256(p_previous || convert_to(string_agg(
            octet_length(convert_to(coalesce(t.field, ''), 'UTF8')) || ':' || coalesce(t.field, '') || ',', ''
            ORDER BY t.n), 'UTF8'))
    FROM unnest(ARRAY[p_community::text, p_seq::text, p_entry::text, (extract(epoch FROM p_at) * 1000000)::bigint::text,
                      p_actor, p_user::text, p_action, p_object, encode(p_detail_sha256, 'hex')])
        WITH ORDINALITY AS t(field, n)
$$;

CREATE FUNCTION audit_append(p_entry audit_entry) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    v_community text := coalesce(current_setting('parkmesh.community', true), '');
    v_seq bigint;
    v_previous bytea;
    v_detail bytea := sha256(coalesce(p_entry.salt, '') || convert_to(p_entry.detail::text, 'UTF8'));
    v_hash bytea;
BEGIN
    -- The transaction may have gone on to another community since it wrote the entry.
    PERFORM set_config('parkmesh.community', p_entry.community_id::text, true);
    INSERT INTO audit_chain (community_id, entries, hash)
        VALUES (p_entry.community_id, 0, decode(repeat('00', 32), 'hex')) ON CONFLICT DO NOTHING;
    SELECT c.entries + 1, c.hash INTO STRICT v_seq, v_previous
        FROM audit_chain c WHERE c.community_id = p_entry.community_id FOR UPDATE;
    v_hash := audit_hash(v_previous, p_entry.community_id, v_seq, p_entry.id, p_entry.at, p_entry.actor,
                         p_entry.user_id, p_entry.action, p_entry.object, v_detail);
    INSERT INTO audit_link (community_id, seq, entry_id, detail_sha256, previous, hash)
        VALUES (p_entry.community_id, v_seq, p_entry.id, v_detail, v_previous, v_hash);
    UPDATE audit_chain SET entries = v_seq, hash = v_hash WHERE community_id = p_entry.community_id;
    PERFORM set_config('parkmesh.community', v_community, true);
END $$;
REVOKE ALL ON FUNCTION audit_append(audit_entry) FROM PUBLIC;

CREATE FUNCTION audit_written() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    -- Servers of the release before name only the user.
    NEW.actor := coalesce(NEW.actor, 'user:' || NEW.user_id);
    NEW.detail := coalesce(NEW.detail, '{}');
    NEW.salt := uuid_send(gen_random_uuid());
    RETURN NEW;
END $$;
CREATE FUNCTION audit_committed() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp
AS $$
BEGIN
    PERFORM audit_append(NEW);
    RETURN NULL;
END $$;
REVOKE ALL ON FUNCTION audit_committed() FROM PUBLIC;

CREATE FUNCTION audit_kept() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'UPDATE' AND TG_TABLE_NAME = 'audit_entry' THEN
        IF NEW.detail IS NULL AND NEW.salt IS NULL
            AND to_jsonb(NEW) - '{detail,salt}'::text[] = to_jsonb(OLD) - '{detail,salt}'::text[] THEN
            RETURN NEW;
        END IF;
    ELSIF TG_OP = 'UPDATE' AND TG_TABLE_NAME = 'audit_chain' THEN
        IF NEW.community_id = OLD.community_id AND NEW.entries = OLD.entries + 1 THEN
            RETURN NEW;
        END IF;
    ELSIF TG_OP = 'DELETE' THEN
        -- With the community, when the desk wanted that and the time to think again is over.
        IF EXISTS (SELECT FROM community c WHERE c.id = OLD.community_id AND c.deletion_due <= now()) THEN
            RETURN OLD;
        END IF;
    END IF;
    RAISE EXCEPTION 'the audit trail is only added to' USING ERRCODE = 'insufficient_privilege';
END $$;

CREATE FUNCTION audit_redact(p_community bigint, p_entries bigint[]) RETURNS SETOF bigint LANGUAGE sql
SECURITY DEFINER SET search_path = public, pg_temp AS $$
    UPDATE audit_entry SET detail = NULL, salt = NULL
        WHERE community_id = p_community AND id = ANY(p_entries) AND detail IS NOT NULL RETURNING id
$$;
COMMENT ON FUNCTION audit_redact IS 'erase what people typed from entries of the community that the transaction is in';
REVOKE ALL ON FUNCTION audit_redact(bigint, bigint[]) FROM PUBLIC;
"""

# Entries of the release before are linked in the order of their ids.
EARLIER = """
DO $$
DECLARE
    v_community bigint;
    v_entry audit_entry;
BEGIN
    PERFORM set_config('parkmesh.scope', 'provision', true);
    FOR v_community IN SELECT id FROM community ORDER BY id LOOP
        PERFORM set_config('parkmesh.community', v_community::text, true);
        UPDATE audit_entry SET actor = 'user:' || user_id WHERE community_id = v_community;
        FOR v_entry IN SELECT * FROM audit_entry WHERE community_id = v_community ORDER BY id LOOP
            PERFORM audit_append(v_entry);
        END LOOP;
    END LOOP;
    PERFORM set_config('parkmesh.community', '', true);
    PERFORM set_config('parkmesh.scope', '', true);
END $$;
"""

KEPT = """
ALTER TABLE audit_entry ALTER COLUMN actor SET NOT NULL;
CREATE TRIGGER written BEFORE INSERT ON audit_entry FOR EACH ROW EXECUTE FUNCTION audit_written();
CREATE CONSTRAINT TRIGGER committed AFTER INSERT ON audit_entry DEFERRABLE INITIALLY DEFERRED
    FOR EACH ROW EXECUTE FUNCTION audit_committed();
""" + "".join(
    f"""
CREATE TRIGGER kept BEFORE UPDATE OR DELETE ON {table} FOR EACH ROW EXECUTE FUNCTION audit_kept();
CREATE TRIGGER kept_whole BEFORE TRUNCATE ON {table} FOR EACH STATEMENT EXECUTE FUNCTION audit_kept();
"""
    for table in ("audit_entry", "audit_link", "audit_chain")
)

KEYS = """
CREATE TABLE api_key (
    community_id bigint NOT NULL REFERENCES community,
    id bigint GENERATED ALWAYS AS IDENTITY,
    name text NOT NULL,
    role text NOT NULL CHECK (role IN ('administrator', 'reader')),
    token_sha256 bytea NOT NULL UNIQUE CHECK (octet_length(token_sha256) = 32),
    created_at timestamptz NOT NULL DEFAULT now(),
    expires_at timestamptz,
    revoked_at timestamptz,
    last_used_at timestamptz,
    PRIMARY KEY (community_id, id)
);
CREATE UNIQUE INDEX api_key_name ON api_key (community_id, name) WHERE revoked_at IS NULL;
COMMENT ON COLUMN api_key.last_used_at IS 'to the minute';

CREATE FUNCTION parkmesh_api_key_token() RETURNS bytea LANGUAGE sql STABLE PARALLEL SAFE
    AS $$ SELECT decode(nullif(current_setting('parkmesh.api_key_token', true), ''), 'hex') $$;
CREATE FUNCTION api_key_identify(
    p_token bytea, OUT key_id bigint, OUT community_id bigint, OUT community text, OUT name text, OUT role text
) LANGUAGE plpgsql AS $$
#variable_conflict use_column
DECLARE
    v_used timestamptz;
BEGIN
    PERFORM set_config('parkmesh.api_key_token', encode(p_token, 'hex'), true);
    SELECT k.id, k.community_id, k.name, k.role, k.last_used_at INTO key_id, community_id, name, role, v_used
        FROM api_key k
        WHERE k.token_sha256 = p_token AND k.revoked_at IS NULL AND (k.expires_at IS NULL OR k.expires_at > now());
    PERFORM set_config('parkmesh.api_key_token', '', true);
    IF key_id IS NOT NULL THEN
        PERFORM set_config('parkmesh.community', community_id::text, true);
        SELECT c.name INTO community FROM community c WHERE c.id = api_key_identify.community_id;
        IF v_used IS NULL OR v_used < now() - interval '1 minute' THEN
            UPDATE api_key k SET last_used_at = now()
                WHERE k.community_id = api_key_identify.community_id AND k.id = api_key_identify.key_id;
        END IF;
        PERFORM set_config('parkmesh.community', '', true);
    END IF;
END $$;
COMMENT ON FUNCTION api_key_identify IS 'name the live API key that has a token, with its community (NULLs: none)';
"""

IDEMPOTENCY = """
CREATE TABLE idempotency_key (
    community_id bigint NOT NULL,
    actor text NOT NULL,
    key_sha256 bytea NOT NULL CHECK (octet_length(key_sha256) = 32),
    request_sha256 bytea NOT NULL,
    status smallint NOT NULL,
    headers jsonb NOT NULL,
    body text NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (community_id, actor, key_sha256)
);
CREATE INDEX idempotency_key_age ON idempotency_key (community_id, created_at);
COMMENT ON COLUMN idempotency_key.community_id IS '0: an act outside of communities';
COMMENT ON COLUMN idempotency_key.request_sha256 IS 'of method, address and body: what the key was used for';
"""

LIMITS = f"""
CREATE TABLE known_network (
    account_sha256 bytea NOT NULL CHECK (octet_length(account_sha256) = 32),
    network inet NOT NULL,
    last_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (account_sha256, network)
);
COMMENT ON TABLE known_network IS 'networks from which the owners of accounts signed in lately';
ALTER TABLE known_network ENABLE ROW LEVEL SECURITY;
ALTER TABLE known_network FORCE ROW LEVEL SECURITY;
CREATE POLICY identity ON known_network USING ((SELECT parkmesh_scope()) = 'identity');
GRANT SELECT, INSERT, UPDATE, DELETE ON known_network TO {APP};
"""

# An offboarded community disappears for its members, under servers of the release before too. Its gateways keep their
# tokens for a while, so that those that are online take the list on which every plate is revoked.
OFFBOARDING = f"""
-- In the order in which a batch of events takes them, or the two would wait for each other.
ALTER TABLE gateway ADD COLUMN token_ends_at timestamptz;
ALTER TABLE community ADD COLUMN offboarded_at timestamptz, ADD COLUMN deletion_due timestamptz;
ALTER TABLE community ADD CONSTRAINT community_deletion CHECK (deletion_due IS NULL OR offboarded_at IS NOT NULL);
COMMENT ON COLUMN community.deletion_due IS 'when retention may delete it with all its rows; null: it stays';
CREATE POLICY offboarded ON community AS RESTRICTIVE FOR SELECT USING (
    offboarded_at IS NULL OR (SELECT parkmesh_scope()) <> 'identity');
CREATE POLICY ended ON gateway AS RESTRICTIVE FOR SELECT USING (
    token_ends_at IS NULL OR token_ends_at > now() OR (SELECT parkmesh_gateway_token()) IS NULL);
GRANT UPDATE (offboarded_at, deletion_due) ON community TO {APP};
-- What the application may not delete, retention must not delete at once because the application says so.
CREATE FUNCTION deletion_waits() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'a community can be kept for 7 days more' USING ERRCODE = 'insufficient_privilege';
END $$;
CREATE TRIGGER deletion_waits BEFORE INSERT OR UPDATE OF deletion_due ON community FOR EACH ROW
    WHEN (current_user = '{APP}' AND NEW.deletion_due < now() + interval '7 days') EXECUTE FUNCTION deletion_waits();
-- A stream that is open learns of the end of its token, and of a gateway that is gone.
CREATE TRIGGER token_ends AFTER UPDATE OF token_ends_at ON gateway FOR EACH ROW
    WHEN (OLD.token_ends_at IS DISTINCT FROM NEW.token_ends_at) EXECUTE FUNCTION gateway_token_changed();
CREATE TRIGGER gone AFTER DELETE ON gateway FOR EACH ROW EXECUTE FUNCTION gateway_token_changed();
"""  # noqa: S608 - a constant of this module

SECURITY = (
    "".join(
        f"""
ALTER TABLE {table} ENABLE ROW LEVEL SECURITY;
ALTER TABLE {table} FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant ON {table} USING (community_id = (SELECT parkmesh_community()));
"""
        for table in ("audit_chain", "audit_link", "api_key", "idempotency_key")
    )
    + f"""
CREATE POLICY itself ON api_key FOR SELECT USING (token_sha256 = (SELECT parkmesh_api_key_token()));
CREATE POLICY outside ON audit_entry FOR INSERT
    WITH CHECK (community_id = 0 AND (SELECT parkmesh_scope()) IN ('identity', 'provision'));
CREATE POLICY desk ON audit_entry FOR SELECT USING (community_id = 0 AND (SELECT parkmesh_scope()) = 'desk');
CREATE POLICY desk ON audit_link FOR SELECT USING (community_id = 0 AND (SELECT parkmesh_scope()) = 'desk');
CREATE POLICY desk ON audit_chain FOR SELECT USING ((SELECT parkmesh_scope()) = 'desk');
CREATE POLICY outside ON idempotency_key USING (community_id = 0 AND (SELECT parkmesh_scope()) = 'provision');
GRANT SELECT ON audit_chain, audit_link TO {APP};
GRANT EXECUTE ON FUNCTION audit_redact(bigint, bigint[]) TO {APP};
GRANT SELECT, INSERT ON api_key TO {APP};
GRANT UPDATE (revoked_at, last_used_at) ON api_key TO {APP};
GRANT SELECT, INSERT, DELETE ON idempotency_key TO {APP};
"""
)


def upgrade() -> None:
    driver = op.get_bind().connection.dbapi_connection
    assert driver is not None
    for script in (OFFBOARDING, ENTRIES, CHAIN, KEYS, IDEMPOTENCY, LIMITS, SECURITY, EARLIER, KEPT):
        driver.run_async(lambda connection, script=script: connection.execute(script))


def downgrade() -> None:
    raise NotImplementedError("servers of this release cannot run without the chain")
