CREATE OR REPLACE FUNCTION audit_committed()
    RETURNS trigger
    LANGUAGE plpgsql
    SECURITY DEFINER
    SET search_path TO 'public', 'pg_temp'
AS $function$
BEGIN
    PERFORM audit_append(NEW);
    RETURN NULL;
END $function$;

DROP TRIGGER IF EXISTS committed ON audit_entry;
CREATE CONSTRAINT TRIGGER committed AFTER INSERT ON audit_entry
    DEFERRABLE INITIALLY DEFERRED
    FOR EACH ROW
    EXECUTE FUNCTION audit_committed();

REVOKE ALL ON FUNCTION audit_committed FROM PUBLIC;
