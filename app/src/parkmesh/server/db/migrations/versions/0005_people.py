"""People: units with their lots, residents that come and go, invitations, passkeys, and what a session tells of itself.

An invitation is a tenant's row that one more may see: whoever presents its token, or its e-mail address together with a
code, before he belongs to any community. Passkeys and their challenges belong to a user, not to a community.

Passages outlive the people who drove: ``erase_passages`` replaces their plates. It runs as the tables' owner, so that
the application itself can't rewrite what happened at a gate; row-level security is forced on the owner too.
"""

from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

APP = "parkmesh_app"

PEOPLE = """
ALTER TABLE unit ADD COLUMN lots integer CHECK (lots BETWEEN 0 AND 1000);
ALTER TABLE unit ADD COLUMN plate_limit integer NOT NULL DEFAULT 10 CHECK (plate_limit BETWEEN 0 AND 1000);
COMMENT ON COLUMN unit.lots IS 'cars of the unit inside at once; null: as the rules of the community say';
COMMENT ON COLUMN unit.plate_limit IS 'plates that its residents may hold together';
ALTER TABLE resident ADD COLUMN active boolean NOT NULL DEFAULT true;
ALTER TABLE resident ADD COLUMN erased_at timestamptz;
COMMENT ON COLUMN resident.erased_at IS 'when the person''s data were erased; the row stays for what refers to it';
ALTER TABLE resident ADD COLUMN erasure_asked_at timestamptz;
COMMENT ON COLUMN resident.erasure_asked_at IS 'since when the person asks the administrators to erase the data';
ALTER TABLE resident ADD COLUMN unit_since timestamptz NOT NULL DEFAULT now();
COMMENT ON COLUMN resident.unit_since IS 'when the person came into the unit: what its cars did before is not his';
CREATE INDEX resident_unit ON resident (community_id, unit_id);
ALTER TABLE credential ADD COLUMN held_from timestamptz, ADD COLUMN revoked_at timestamptz;
ALTER TABLE credential ALTER COLUMN held_from SET DEFAULT now();
COMMENT ON COLUMN credential.held_from IS
    'when its holder got this plate: what it did before is not his; null: when it was created';
COMMENT ON COLUMN credential.revoked_at IS 'null with a status of revoked: before this was kept';
ALTER TABLE credential ADD COLUMN label text NOT NULL DEFAULT '' CHECK (length(label) <= 60);
CREATE INDEX credential_resident ON credential (community_id, resident_id);
ALTER TABLE web_session ADD COLUMN device text NOT NULL DEFAULT '' CHECK (length(device) <= 60);
ALTER TABLE web_session ADD COLUMN method text NOT NULL DEFAULT 'password'
    CHECK (method IN ('password', 'passkey', 'invitation'));
"""

SETTINGS = """
CREATE FUNCTION parkmesh_invitation_token() RETURNS bytea LANGUAGE sql STABLE PARALLEL SAFE
    AS $$ SELECT decode(nullif(current_setting('parkmesh.invitation_token', true), ''), 'hex') $$;
CREATE FUNCTION parkmesh_invitation_email() RETURNS text LANGUAGE sql STABLE PARALLEL SAFE
    AS $$ SELECT nullif(current_setting('parkmesh.invitation_email', true), '') $$;
"""

# Triggers, because servers of the release before write these rows too.
HELD = """
CREATE FUNCTION credential_held() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF (NEW.plate, NEW.resident_id) IS DISTINCT FROM (OLD.plate, OLD.resident_id) THEN
        NEW.held_from := now();
    END IF;
    IF NEW.status <> OLD.status THEN
        NEW.revoked_at := CASE NEW.status WHEN 'revoked' THEN now() END;
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER held BEFORE UPDATE OF plate, resident_id, status ON credential
    FOR EACH ROW EXECUTE FUNCTION credential_held();

CREATE FUNCTION resident_came() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    NEW.unit_since := now();
    RETURN NEW;
END $$;
CREATE TRIGGER came BEFORE UPDATE OF unit_id, active ON resident FOR EACH ROW
    WHEN (OLD.unit_id IS DISTINCT FROM NEW.unit_id OR NEW.active AND NOT OLD.active)
    EXECUTE FUNCTION resident_came();
"""

INVITATION = f"""
CREATE TABLE invitation (
    community_id bigint NOT NULL REFERENCES community,
    id bigint GENERATED ALWAYS AS IDENTITY,
    kind text NOT NULL CHECK (kind IN ('join', 'reset')),
    email text NOT NULL CHECK (email = lower(email)),
    role text CHECK (role IN ('administrator', 'resident')),
    unit_id bigint,
    user_id bigint REFERENCES app_user,
    token_sha256 bytea NOT NULL CHECK (octet_length(token_sha256) = 32),
    code_hash text NOT NULL,
    code_attempts integer NOT NULL DEFAULT 0,
    by_desk boolean NOT NULL DEFAULT false,
    created_at timestamptz NOT NULL DEFAULT now(),
    sent_at timestamptz NOT NULL DEFAULT now(),
    expires_at timestamptz NOT NULL,
    accepted_at timestamptz,
    revoked_at timestamptz,
    PRIMARY KEY (community_id, id),
    FOREIGN KEY (community_id, unit_id) REFERENCES unit,
    CHECK (CASE kind WHEN 'join' THEN role IS NOT NULL ELSE user_id IS NOT NULL AND role IS NULL END)
);
COMMENT ON COLUMN invitation.by_desk IS 'made by an operator: a reset may reach accounts of several communities';
COMMENT ON COLUMN invitation.sent_at IS 'when the link and the code that hold now were made';
CREATE UNIQUE INDEX invitation_pending ON invitation (community_id, kind, email)
    WHERE accepted_at IS NULL AND revoked_at IS NULL;
CREATE INDEX invitation_token ON invitation (token_sha256);
CREATE INDEX invitation_email ON invitation (email) WHERE accepted_at IS NULL AND revoked_at IS NULL;
ALTER TABLE invitation ENABLE ROW LEVEL SECURITY;
ALTER TABLE invitation FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant ON invitation USING (community_id = (SELECT parkmesh_community()));
CREATE POLICY bearer ON invitation FOR SELECT USING (
    (SELECT parkmesh_scope()) = 'identity'
    AND (token_sha256 = (SELECT parkmesh_invitation_token()) OR email = (SELECT parkmesh_invitation_email())));
GRANT SELECT, INSERT, DELETE ON invitation TO {APP};
GRANT UPDATE (token_sha256, code_hash, code_attempts, by_desk, sent_at, expires_at, accepted_at, revoked_at)
    ON invitation TO {APP};
"""

PASSKEY = f"""
CREATE TABLE passkey (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    user_id bigint NOT NULL REFERENCES app_user ON DELETE CASCADE,
    credential_id bytea NOT NULL UNIQUE CHECK (octet_length(credential_id) BETWEEN 1 AND 1023),
    public_key bytea NOT NULL,
    sign_count bigint NOT NULL,
    name text NOT NULL CHECK (length(name) <= 60),
    synced boolean NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    last_used_at timestamptz
);
COMMENT ON COLUMN passkey.synced IS 'its maker keeps a copy elsewhere: losing the device does not lose it';
CREATE INDEX passkey_user ON passkey (user_id);
CREATE TABLE passkey_challenge (
    challenge_sha256 bytea PRIMARY KEY CHECK (octet_length(challenge_sha256) = 32),
    user_id bigint REFERENCES app_user ON DELETE CASCADE,
    expires_at timestamptz NOT NULL
);
COMMENT ON COLUMN passkey_challenge.user_id IS 'who registers a passkey with it; null: it is for signing in';
CREATE INDEX passkey_challenge_expires ON passkey_challenge (expires_at);
ALTER TABLE passkey ENABLE ROW LEVEL SECURITY;
ALTER TABLE passkey FORCE ROW LEVEL SECURITY;
ALTER TABLE passkey_challenge ENABLE ROW LEVEL SECURITY;
ALTER TABLE passkey_challenge FORCE ROW LEVEL SECURITY;
CREATE POLICY identity ON passkey USING ((SELECT parkmesh_scope()) = 'identity');
CREATE POLICY identity ON passkey_challenge USING ((SELECT parkmesh_scope()) = 'identity');
GRANT SELECT, INSERT, DELETE ON passkey, passkey_challenge TO {APP};
GRANT UPDATE (sign_count, last_used_at, name, synced) ON passkey TO {APP};
"""

GRANTS = f"""
GRANT DELETE ON unit, resident, membership, credential TO {APP};
GRANT UPDATE (email) ON app_user TO {APP};
GRANT EXECUTE ON FUNCTION erase_passages TO {APP};
"""

ERASURE = """
CREATE FUNCTION erase_passages(p_plates text[], p_credentials text[]) RETURNS bigint
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE
    v_community bigint := parkmesh_community();
    v_erased bigint;
BEGIN
    -- One pseudonym for each plate: journeys can still be counted, and the character ~ is on no plate.
    WITH pseudonym AS MATERIALIZED (
        SELECT p.plate, '~' || substr(replace(gen_random_uuid()::text, '-', ''), 1, 10) AS instead
        FROM (SELECT DISTINCT plate FROM passage
              WHERE community_id = v_community AND (plate = ANY (p_plates) OR credential_id = ANY (p_credentials))
                AND plate NOT LIKE '~%') p
    )
    UPDATE passage t SET plate = s.instead, credential_id = NULL, device_event_id = NULL
    FROM pseudonym s
    WHERE t.community_id = v_community AND t.plate = s.plate
      AND (t.plate = ANY (p_plates) OR t.credential_id = ANY (p_credentials));
    GET DIAGNOSTICS v_erased = ROW_COUNT;
    RETURN v_erased;
END $$;
COMMENT ON FUNCTION erase_passages IS
    'replace the plate of all passages of these plates or credentials in the transaction''s community; their number';
REVOKE EXECUTE ON FUNCTION erase_passages FROM PUBLIC;
"""


def upgrade() -> None:
    driver = op.get_bind().connection.dbapi_connection
    assert driver is not None
    for script in (PEOPLE, HELD, SETTINGS, INVITATION, PASSKEY, ERASURE, GRANTS):
        driver.run_async(lambda connection, script=script: connection.execute(script))


def downgrade() -> None:
    raise NotImplementedError("servers of this release cannot run without it")
