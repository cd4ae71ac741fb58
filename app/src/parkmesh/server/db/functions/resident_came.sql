CREATE OR REPLACE FUNCTION resident_came()
    RETURNS trigger
    LANGUAGE plpgsql
AS $function$
BEGIN
    NEW.unit_since := now();
    RETURN NEW;
END $function$;

CREATE OR REPLACE TRIGGER came BEFORE UPDATE OF unit_id, active ON resident
    FOR EACH ROW
    WHEN (((old.unit_id IS DISTINCT FROM new.unit_id) OR (new.active AND (NOT old.active))))
    EXECUTE FUNCTION resident_came();
