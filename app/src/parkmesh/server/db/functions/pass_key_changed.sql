CREATE OR REPLACE FUNCTION pass_key_changed()
    RETURNS trigger
    LANGUAGE plpgsql
AS $function$
BEGIN
    PERFORM access_list_changed(coalesce(NEW.community_id, OLD.community_id), '{}');
    RETURN NULL;
END $function$;

COMMENT ON FUNCTION pass_key_changed IS 'gateways learn of a new key for visitors'' codes, and forget the former one';

CREATE OR REPLACE TRIGGER renewed AFTER UPDATE ON pass_key
    FOR EACH ROW
    WHEN ((old.number IS DISTINCT FROM new.number))
    EXECUTE FUNCTION pass_key_changed();

CREATE OR REPLACE TRIGGER forgotten AFTER DELETE ON former_pass_key
    FOR EACH ROW
    EXECUTE FUNCTION pass_key_changed();
