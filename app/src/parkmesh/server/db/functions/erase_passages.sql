CREATE OR REPLACE FUNCTION erase_passages(p_plates text[], p_credentials text[])
    RETURNS bigint
    LANGUAGE plpgsql
    SECURITY DEFINER
    SET search_path TO 'public', 'pg_temp'
AS $function$
DECLARE
    v_community bigint := parkmesh_community();
    v_erased bigint;
    v_plates text[];
BEGIN
    -- Who projects passages has read plates already and would write them again: see access/passage_events.py and
    -- access/stay_projection.py.
    PERFORM pg_advisory_xact_lock(hashtextextended('events', v_community));
    PERFORM pg_advisory_xact_lock(hashtextextended('stays', v_community));
    -- One pseudonym for each plate: journeys can still be counted, and the character ~ is on no plate.
    WITH erased AS MATERIALIZED (
        SELECT received_at, id, plate FROM passage
        WHERE community_id = v_community AND (plate = ANY (p_plates) OR credential_id = ANY (p_credentials))
          AND plate NOT LIKE '~%'
    ), moved AS MATERIALIZED (
        SELECT at, gateway_id, epoch, seq, plate FROM movement
        WHERE community_id = v_community AND plate NOT LIKE '~%'
          AND (plate = ANY (p_plates) OR passage_id IN (SELECT id FROM erased))
    ), stayed AS MATERIALIZED (
        SELECT id, plate FROM stay
        WHERE community_id = v_community AND plate NOT LIKE '~%'
          AND (plate = ANY (p_plates) OR credential_id::text = ANY (p_credentials)
               OR entered_passage IN (SELECT id FROM erased))
    ), pseudonym AS MATERIALIZED (
        SELECT p.plate, '~' || substr(replace(gen_random_uuid()::text, '-', ''), 1, 10) AS instead
        FROM (SELECT plate FROM erased UNION SELECT plate FROM moved UNION SELECT plate FROM stayed) p
    ), passages AS (
        UPDATE passage t SET plate = s.instead, credential_id = NULL, device_event_id = NULL
        FROM erased e JOIN pseudonym s USING (plate)
        WHERE t.community_id = v_community AND t.received_at = e.received_at AND t.id = e.id
        RETURNING 1
    ), movements AS (
        UPDATE movement t SET plate = s.instead FROM moved m JOIN pseudonym s USING (plate)
        WHERE t.community_id = v_community
          AND (t.plate, t.at, t.gateway_id, t.epoch, t.seq) = (m.plate, m.at, m.gateway_id, m.epoch, m.seq)
    ), stays AS (
        UPDATE stay t SET plate = s.instead, credential_id = NULL, visitor_pass_id = NULL, unit_id = NULL
        FROM stayed y JOIN pseudonym s USING (plate)
        WHERE t.community_id = v_community AND t.id = y.id
    )
    SELECT (SELECT count(*) FROM passages), (SELECT array_agg(plate) FROM pseudonym) INTO v_erased, v_plates;
    -- A misread may be another car's plate, whose passages stay.
    DELETE FROM seen_plate k WHERE k.community_id = v_community AND k.plate = ANY(v_plates)
        AND NOT EXISTS (SELECT FROM passage p WHERE p.community_id = v_community AND p.plate = k.plate)
        AND NOT EXISTS (SELECT FROM stay s WHERE s.community_id = v_community AND s.plate = k.plate);
    RETURN v_erased;
END $function$;

COMMENT ON FUNCTION erase_passages IS
    'replace the plate of all passages and stays of these plates or credentials in the transaction''s community; how '
    'many passages';

REVOKE ALL ON FUNCTION erase_passages FROM PUBLIC;
GRANT EXECUTE ON FUNCTION erase_passages TO parkmesh_app;
