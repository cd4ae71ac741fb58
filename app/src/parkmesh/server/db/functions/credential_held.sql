CREATE OR REPLACE FUNCTION credential_held()
    RETURNS trigger
    LANGUAGE plpgsql
AS $function$
BEGIN
    IF (NEW.plate, NEW.resident_id) IS DISTINCT FROM (OLD.plate, OLD.resident_id) THEN
        NEW.held_from := now();
    END IF;
    IF NEW.status <> OLD.status THEN
        NEW.revoked_at := CASE NEW.status WHEN 'revoked' THEN now() END;
    END IF;
    RETURN NEW;
END $function$;

CREATE OR REPLACE TRIGGER held BEFORE UPDATE OF plate, resident_id, status ON credential
    FOR EACH ROW
    EXECUTE FUNCTION credential_held();
