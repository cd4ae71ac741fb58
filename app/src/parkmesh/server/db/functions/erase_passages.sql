CREATE OR REPLACE FUNCTION erase_passages(p_plates text[], p_credentials text[])
    RETURNS bigint
    LANGUAGE plpgsql
    SECURITY DEFINER
    SET search_path TO 'public', 'pg_temp'
AS $function$
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
END $function$;

COMMENT ON FUNCTION erase_passages IS
    'replace the plate of all passages of these plates or credentials in the transaction''s community; their number';

REVOKE ALL ON FUNCTION erase_passages FROM PUBLIC;
GRANT EXECUTE ON FUNCTION erase_passages TO parkmesh_app;
