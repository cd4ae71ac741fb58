CREATE OR REPLACE FUNCTION audit_hash(
    p_previous bytea, p_community bigint, p_seq bigint, p_entry bigint, p_at timestamp with time zone, p_actor text,
    p_user bigint, p_action text, p_object text, p_detail_sha256 bytea
)
    RETURNS bytea
    LANGUAGE sql
    IMMUTABLE
AS $function$
    SELECT sha256(p_previous || convert_to(string_agg(
            octet_length(convert_to(coalesce(t.field, ''), 'UTF8')) || ':' || coalesce(t.field, '') || ',', ''
            ORDER BY t.n), 'UTF8'))
    FROM unnest(ARRAY[p_community::text, p_seq::text, p_entry::text, (extract(epoch FROM p_at) * 1000000)::bigint::text,
                      p_actor, p_user::text, p_action, p_object, encode(p_detail_sha256, 'hex')])
        WITH ORDINALITY AS t(field, n)
$function$;
