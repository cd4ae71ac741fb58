CREATE OR REPLACE FUNCTION gateway_token_changed()
    RETURNS trigger
    LANGUAGE plpgsql
AS $function$
BEGIN
    PERFORM pg_notify('parkmesh_gateway', OLD.id::text);
    RETURN NULL;
END $function$;

CREATE OR REPLACE TRIGGER gone AFTER DELETE ON gateway FOR EACH ROW EXECUTE FUNCTION gateway_token_changed();

CREATE OR REPLACE TRIGGER token_changed AFTER UPDATE OF token_sha256 ON gateway
    FOR EACH ROW
    WHEN ((old.token_sha256 IS DISTINCT FROM new.token_sha256))
    EXECUTE FUNCTION gateway_token_changed();

CREATE OR REPLACE TRIGGER token_ends AFTER UPDATE OF token_ends_at ON gateway
    FOR EACH ROW
    WHEN ((old.token_ends_at IS DISTINCT FROM new.token_ends_at))
    EXECUTE FUNCTION gateway_token_changed();
