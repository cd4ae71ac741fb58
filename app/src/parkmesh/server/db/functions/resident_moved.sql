CREATE OR REPLACE FUNCTION resident_moved()
    RETURNS trigger
    LANGUAGE plpgsql
AS $function$
BEGIN
    PERFORM access_list_changed(NEW.community_id, array_agg(c.id))
        FROM credential c WHERE c.community_id = NEW.community_id AND c.resident_id = NEW.id
        HAVING count(*) > 0;
    -- He sees what his new unit's cars do from now on, and not what those of the old one do.
    PERFORM pg_notify('parkmesh_live', NEW.community_id || ':v');
    RETURN NULL;
END $function$;

CREATE OR REPLACE TRIGGER moved AFTER UPDATE OF unit_id ON resident
    FOR EACH ROW
    WHEN ((old.unit_id IS DISTINCT FROM new.unit_id))
    EXECUTE FUNCTION resident_moved();
