CREATE OR REPLACE FUNCTION correct_presence(
    p_plate text, p_inside boolean, p_reason text, OUT id bigint, OUT at timestamp with time zone
)
    RETURNS record
    LANGUAGE plpgsql
AS $function$
#variable_conflict use_column
DECLARE
    v_community bigint := parkmesh_community();
    v_version bigint;
BEGIN
    -- The community's row first, as every change of the list does: then no two corrections of a plate cross.
    PERFORM access_list_changed(v_community, '{}');
    SELECT c.access_list_version INTO STRICT v_version FROM community c WHERE c.id = v_community;
    -- Later than what it corrects, even where a gateway's clock is ahead.
    SELECT greatest(date_trunc('milliseconds', clock_timestamp()), max(p.at) + interval '1 millisecond') INTO at
        FROM presence p WHERE p.community_id = v_community AND p.plate = p_plate;
    INSERT INTO presence_correction (community_id, plate, inside, at, reason, access_list_version)
        VALUES (v_community, p_plate, p_inside, at, p_reason, v_version)
        RETURNING presence_correction.id INTO id;
    INSERT INTO presence AS old (community_id, plate, inside, at, gateway_id, epoch, seq, gate)
        VALUES (v_community, p_plate, p_inside, at, 0, 0, id, '')
    ON CONFLICT (community_id, plate) DO UPDATE
        SET inside = excluded.inside, at = excluded.at, gateway_id = 0, epoch = 0, seq = excluded.seq, gate = ''
        WHERE (old.at, old.gateway_id, old.epoch, old.seq) < (excluded.at, 0, 0, excluded.seq);
    PERFORM pg_notify('parkmesh_live', v_community || ':p');
END $function$;

COMMENT ON FUNCTION correct_presence IS
    'say that a plate is inside or outside, whatever was seen before';
