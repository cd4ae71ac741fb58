CREATE OR REPLACE FUNCTION audit_written()
    RETURNS trigger
    LANGUAGE plpgsql
AS $function$
BEGIN
    -- Servers of the release before name only the user.
    NEW.actor := coalesce(NEW.actor, 'user:' || NEW.user_id);
    NEW.detail := coalesce(NEW.detail, '{}');
    NEW.salt := uuid_send(gen_random_uuid());
    RETURN NEW;
END $function$;

CREATE OR REPLACE TRIGGER written BEFORE INSERT ON audit_entry FOR EACH ROW EXECUTE FUNCTION audit_written();
