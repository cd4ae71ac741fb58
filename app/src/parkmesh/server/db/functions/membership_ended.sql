CREATE OR REPLACE FUNCTION membership_ended()
    RETURNS trigger
    LANGUAGE plpgsql
AS $function$
BEGIN
    UPDATE resident r SET former_user_id = OLD.user_id
        WHERE r.community_id = OLD.community_id AND r.id = OLD.resident_id;
    RETURN NULL;
END $function$;

COMMENT ON FUNCTION membership_ended IS
    'remember whose account a person had: a community may erase it with the person, and no other account';

CREATE OR REPLACE TRIGGER ended AFTER DELETE ON membership
    FOR EACH ROW
    WHEN (old.resident_id IS NOT NULL)
    EXECUTE FUNCTION membership_ended();
