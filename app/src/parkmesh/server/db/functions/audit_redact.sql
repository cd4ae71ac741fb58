CREATE OR REPLACE FUNCTION audit_redact(p_community bigint, p_entries bigint[])
    RETURNS SETOF bigint
    LANGUAGE sql
    SECURITY DEFINER
    SET search_path TO 'public', 'pg_temp'
AS $function$
    UPDATE audit_entry SET detail = NULL, salt = NULL
        WHERE community_id = p_community AND id = ANY(p_entries) AND detail IS NOT NULL RETURNING id
$function$;

COMMENT ON FUNCTION audit_redact IS
    'erase what people typed from entries of the community that the transaction is in';

REVOKE ALL ON FUNCTION audit_redact FROM PUBLIC;
GRANT EXECUTE ON FUNCTION audit_redact TO parkmesh_app;
