CREATE OR REPLACE FUNCTION space_names_level()
    RETURNS trigger
    LANGUAGE plpgsql
AS $function$
BEGIN
    INSERT INTO level (community_id, name) VALUES (NEW.community_id, NEW.level)
        ON CONFLICT (community_id, name) DO NOTHING;
    RETURN NEW;
END $function$;

COMMENT ON FUNCTION space_names_level IS
    'a level exists as soon as a space is said to be on it';

CREATE OR REPLACE TRIGGER names_level BEFORE INSERT OR UPDATE OF level ON space
    FOR EACH ROW
    EXECUTE FUNCTION space_names_level();
