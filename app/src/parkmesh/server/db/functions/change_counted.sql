CREATE OR REPLACE FUNCTION change_counted()
    RETURNS trigger
    LANGUAGE plpgsql
AS $function$
BEGIN
    NEW.changes := OLD.changes + 1;
    NEW.changed_at := now();
    RETURN NEW;
END $function$;

COMMENT ON FUNCTION change_counted IS
    'count the changes of what calendars show: a calendar takes over an event only where its number went up';

CREATE OR REPLACE TRIGGER change_counted BEFORE UPDATE ON booking
    FOR EACH ROW
    WHEN ((old.space_id, old.starts_at, old.ends_at, old.status, old.held_until)
        IS DISTINCT FROM (new.space_id, new.starts_at, new.ends_at, new.status, new.held_until))
    EXECUTE FUNCTION change_counted();

CREATE OR REPLACE TRIGGER change_counted BEFORE UPDATE ON visitor_pass
    FOR EACH ROW
    WHEN ((old.name, old.starts_at, old.ends_at, old.status)
        IS DISTINCT FROM (new.name, new.starts_at, new.ends_at, new.status))
    EXECUTE FUNCTION change_counted();
