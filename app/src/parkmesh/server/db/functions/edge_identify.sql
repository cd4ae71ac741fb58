CREATE OR REPLACE FUNCTION edge_identify(
    p_token bytea, OUT community_id bigint, OUT gateway_id bigint, OUT name text
)
    RETURNS record
    LANGUAGE plpgsql
AS $function$
#variable_conflict use_column
BEGIN
    PERFORM set_config('parkmesh.gateway_token', encode(p_token, 'hex'), true);
    SELECT g.community_id, g.id, g.name INTO community_id, gateway_id, name
        FROM gateway g WHERE g.token_sha256 = p_token;
    PERFORM set_config('parkmesh.gateway_token', '', true);
    PERFORM set_config('parkmesh.community', coalesce(community_id::text, ''), true);
END $function$;

COMMENT ON FUNCTION edge_identify IS
    'name the gateway that holds a token (NULLs: none) and enter its community for the rest of the transaction';
