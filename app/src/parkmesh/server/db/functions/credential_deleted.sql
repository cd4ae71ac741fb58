CREATE OR REPLACE FUNCTION credential_deleted()
    RETURNS trigger
    LANGUAGE plpgsql
AS $function$
BEGIN
    PERFORM access_list_changed(b.community_id, array_agg(b.id)) FROM before b GROUP BY b.community_id;
    RETURN NULL;
END $function$;

CREATE OR REPLACE TRIGGER deleted AFTER DELETE ON credential
    REFERENCING OLD TABLE AS before
    FOR EACH STATEMENT
    EXECUTE FUNCTION credential_deleted();
