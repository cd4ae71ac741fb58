CREATE OR REPLACE FUNCTION credential_inserted()
    RETURNS trigger
    LANGUAGE plpgsql
AS $function$
BEGIN
    PERFORM access_list_changed(c.community_id, array_agg(c.id)) FROM after c GROUP BY c.community_id;
    RETURN NULL;
END $function$;

CREATE OR REPLACE TRIGGER inserted AFTER INSERT ON credential
    REFERENCING NEW TABLE AS after
    FOR EACH STATEMENT
    EXECUTE FUNCTION credential_inserted();
