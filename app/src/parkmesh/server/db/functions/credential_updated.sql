CREATE OR REPLACE FUNCTION credential_updated()
    RETURNS trigger
    LANGUAGE plpgsql
AS $function$
BEGIN
    PERFORM access_list_changed(c.community_id, array_agg(c.id))
        FROM after c JOIN before b USING (community_id, id)
        WHERE (c.plate, c.status, c.valid_from, c.valid_until, c.resident_id, c.visitor_pass_id)
            IS DISTINCT FROM (b.plate, b.status, b.valid_from, b.valid_until, b.resident_id, b.visitor_pass_id)
        GROUP BY c.community_id;
    RETURN NULL;
END $function$;

CREATE OR REPLACE TRIGGER updated AFTER UPDATE ON credential
    REFERENCING OLD TABLE AS before NEW TABLE AS after
    FOR EACH STATEMENT
    EXECUTE FUNCTION credential_updated();
