CREATE OR REPLACE FUNCTION audit_append(p_entry audit_entry)
    RETURNS void
    LANGUAGE plpgsql
AS $function$
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
END $function$;

REVOKE ALL ON FUNCTION audit_append FROM PUBLIC;
