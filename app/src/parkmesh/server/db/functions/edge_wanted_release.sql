CREATE OR REPLACE FUNCTION edge_wanted_release(p_token bytea)
    RETURNS bigint
    LANGUAGE plpgsql
AS $function$
DECLARE
    v_community bigint;
    v_gateway bigint;
BEGIN
    SELECT i.community_id, i.gateway_id INTO v_community, v_gateway FROM edge_identify(p_token) i;
    RETURN coalesce((SELECT o.serial FROM gateway_release_order o
        WHERE o.community_id = v_community AND o.gateway_id = v_gateway AND o.state = 'wanted'), 0);
END $function$;

COMMENT ON FUNCTION edge_wanted_release IS 'the number of the release that a gateway should take, 0 for none';
