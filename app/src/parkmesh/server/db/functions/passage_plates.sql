CREATE OR REPLACE FUNCTION passage_plates()
    RETURNS trigger
    LANGUAGE plpgsql
AS $function$
BEGIN
    -- Nearly all plates are there: one look by key for each. In the order of the plates, so that two gateways of a
    -- community never wait for each other in a ring.
    INSERT INTO plate_part (community_id, part, plate)
        SELECT p.community_id, substr(p.plate, n), p.plate
        FROM (SELECT a.community_id, a.plate
              FROM (SELECT DISTINCT community_id, plate FROM after WHERE plate <> '' AND plate NOT LIKE '~%') a
              -- A look for each plate, before it is taken apart: a join would read all parts each time.
              WHERE (SELECT true FROM plate_part k
                     WHERE k.community_id = a.community_id AND k.part = a.plate AND k.plate = a.plate) IS NULL
              OFFSET 0) p,
            generate_series(1, length(p.plate)) n
        ORDER BY p.community_id, p.plate COLLATE "C", n
    ON CONFLICT DO NOTHING;
    RETURN NULL;
END $function$;

CREATE OR REPLACE TRIGGER plates AFTER INSERT ON passage
    REFERENCING NEW TABLE AS after
    FOR EACH STATEMENT
    EXECUTE FUNCTION passage_plates();

CREATE OR REPLACE TRIGGER plates AFTER INSERT ON movement
    REFERENCING NEW TABLE AS after
    FOR EACH STATEMENT
    EXECUTE FUNCTION passage_plates();
