CREATE OR REPLACE FUNCTION deletion_waits()
    RETURNS trigger
    LANGUAGE plpgsql
AS $function$
BEGIN
    RAISE EXCEPTION 'a community can be kept for 7 days more' USING ERRCODE = 'insufficient_privilege';
END $function$;

CREATE OR REPLACE TRIGGER deletion_waits BEFORE INSERT OR UPDATE OF deletion_due ON community
    FOR EACH ROW
    WHEN (((CURRENT_USER = 'parkmesh_app'::name) AND (new.deletion_due < (now() + '7 days'::interval))))
    EXECUTE FUNCTION deletion_waits();
