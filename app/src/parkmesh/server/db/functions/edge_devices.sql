CREATE OR REPLACE FUNCTION edge_devices(p_token bytea, p_faults text[])
    RETURNS void
    LANGUAGE plpgsql
AS $function$
DECLARE
    v_community bigint;
    v_gateway bigint;
BEGIN
    SELECT i.community_id, i.gateway_id INTO v_community, v_gateway FROM edge_identify(p_token) i;
    UPDATE gateway g SET device_faults = p_faults
        WHERE g.community_id = v_community AND g.id = v_gateway AND g.device_faults IS DISTINCT FROM p_faults;
END $function$;

COMMENT ON FUNCTION edge_devices IS 'what a gateway says is wrong with its devices, from its heartbeat';
