CREATE OR REPLACE FUNCTION api_key_identify(
    p_token bytea, OUT key_id bigint, OUT community_id bigint, OUT community text, OUT name text, OUT role text
)
    RETURNS record
    LANGUAGE plpgsql
AS $function$
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
        SELECT c.name INTO community FROM community c
            WHERE c.id = api_key_identify.community_id AND c.offboarded_at IS NULL;
        IF community IS NULL THEN
            key_id := NULL;
            community_id := NULL;
            name := NULL;
            role := NULL;
        ELSIF v_used IS NULL OR v_used < now() - interval '1 minute' THEN
            UPDATE api_key k SET last_used_at = now()
                WHERE k.community_id = api_key_identify.community_id AND k.id = api_key_identify.key_id;
        END IF;
        PERFORM set_config('parkmesh.community', '', true);
    END IF;
END $function$;

COMMENT ON FUNCTION api_key_identify IS
    'name the live API key that has a token, with its community (NULLs: none, or the community was offboarded)';
