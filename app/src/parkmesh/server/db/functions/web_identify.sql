CREATE OR REPLACE FUNCTION web_identify(
    p_token bytea, OUT user_id bigint, OUT email text, OUT name text, OUT operator boolean, OUT memberships jsonb
)
    RETURNS record
    LANGUAGE plpgsql
AS $function$
#variable_conflict use_column
DECLARE
    v_seen timestamptz;
BEGIN
    PERFORM set_config('parkmesh.scope', 'identity', true);
    SELECT u.id, u.email, u.name, u.operator, s.last_seen_at INTO user_id, email, name, operator, v_seen
        FROM web_session s JOIN app_user u ON u.id = s.user_id
        WHERE s.token_sha256 = p_token AND s.revoked_at IS NULL AND s.expires_at > now() AND u.active
          AND s.last_seen_at > now() - interval '12 hours';
    IF user_id IS NOT NULL THEN
        PERFORM set_config('parkmesh.user', user_id::text, true);
        SELECT coalesce(jsonb_agg(jsonb_build_object(
                'community_id', m.community_id, 'community', c.name, 'role', m.role, 'resident_id', m.resident_id
            ) ORDER BY c.name), '[]')
            INTO memberships
            FROM membership m JOIN community c ON c.id = m.community_id WHERE m.user_id = web_identify.user_id;
        IF v_seen < now() - interval '1 minute' THEN
            UPDATE web_session s SET last_seen_at = now() WHERE s.token_sha256 = p_token;
        END IF;
    END IF;
    PERFORM set_config('parkmesh.user', '', true);
    PERFORM set_config('parkmesh.scope', '', true);
END $function$;

COMMENT ON FUNCTION web_identify IS
    'name the user whose live session holds a token, with his memberships (NULLs: none)';
