CREATE OR REPLACE FUNCTION gateway_joined()
    RETURNS trigger
    LANGUAGE plpgsql
AS $function$
BEGIN
    PERFORM pg_notify('parkmesh_gateway', g.id::text) FROM gateway g
        WHERE g.community_id = NEW.community_id AND g.id <> NEW.id;
    RETURN NULL;
END $function$;

CREATE OR REPLACE TRIGGER joined AFTER INSERT ON gateway FOR EACH ROW EXECUTE FUNCTION gateway_joined();
