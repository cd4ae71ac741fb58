CREATE OR REPLACE FUNCTION access_list_changed(p_community bigint, p_credentials bigint[])
    RETURNS void
    LANGUAGE plpgsql
AS $function$
DECLARE
    v_version bigint;
BEGIN
    UPDATE community SET access_list_version = access_list_version + 1 WHERE id = p_community
        RETURNING access_list_version INTO STRICT v_version;
    INSERT INTO access_list_change (community_id, version, credential_id)
        SELECT p_community, v_version, unnest(p_credentials);
    PERFORM pg_notify('parkmesh_access_list', p_community || ':' || v_version);
END $function$;
