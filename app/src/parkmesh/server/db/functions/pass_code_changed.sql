CREATE OR REPLACE FUNCTION pass_code_changed()
    RETURNS trigger
    LANGUAGE plpgsql
AS $function$
BEGIN
    PERFORM access_list_changed(NEW.community_id, '{}');
    RETURN NULL;
END $function$;

COMMENT ON FUNCTION pass_code_changed IS 'gateways learn of a visitor''s new code, and of a pass that was taken back';

CREATE OR REPLACE TRIGGER changed AFTER INSERT OR UPDATE ON pass_code
    FOR EACH ROW
    EXECUTE FUNCTION pass_code_changed();

CREATE OR REPLACE TRIGGER code_ended AFTER UPDATE OF status ON visitor_pass
    FOR EACH ROW
    WHEN ((old.status IS DISTINCT FROM new.status))
    EXECUTE FUNCTION pass_code_changed();
