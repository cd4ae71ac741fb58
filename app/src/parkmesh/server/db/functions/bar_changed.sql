-- A bar is an entry of the access list, and it changes those of all credentials of its plate.
CREATE OR REPLACE FUNCTION bar_changed()
    RETURNS trigger
    LANGUAGE plpgsql
AS $function$
BEGIN
    IF TG_OP = 'INSERT' OR NEW.lifted_at IS DISTINCT FROM OLD.lifted_at THEN
        PERFORM access_list_changed(NEW.community_id, array_agg(c.id)) FROM (
            SELECT -NEW.id AS id
            UNION ALL
            SELECT k.id FROM credential k WHERE k.community_id = NEW.community_id AND k.plate = NEW.plate
        ) c;
    END IF;
    RETURN NULL;
END $function$;

CREATE OR REPLACE TRIGGER changed AFTER INSERT OR UPDATE ON bar
    FOR EACH ROW
    EXECUTE FUNCTION bar_changed();
