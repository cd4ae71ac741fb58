CREATE OR REPLACE FUNCTION unit_lots_changed()
    RETURNS trigger
    LANGUAGE plpgsql
AS $function$
BEGIN
    PERFORM access_list_changed(NEW.community_id, array_agg(c.id))
        FROM credential c
        LEFT JOIN resident r ON r.community_id = c.community_id AND r.id = c.resident_id
        LEFT JOIN visitor_pass v ON v.community_id = c.community_id AND v.id = c.visitor_pass_id
        WHERE c.community_id = NEW.community_id AND NEW.id IN (r.unit_id, v.unit_id)
        HAVING count(*) > 0;
    RETURN NULL;
END $function$;

CREATE OR REPLACE TRIGGER lots_changed AFTER UPDATE OF lots ON unit
    FOR EACH ROW
    WHEN ((old.lots IS DISTINCT FROM new.lots))
    EXECUTE FUNCTION unit_lots_changed();
