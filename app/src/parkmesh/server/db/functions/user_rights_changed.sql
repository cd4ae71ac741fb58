CREATE OR REPLACE FUNCTION user_rights_changed()
    RETURNS trigger
    LANGUAGE plpgsql
AS $function$
BEGIN
    PERFORM pg_notify('parkmesh_user', (to_jsonb(OLD) ->> TG_ARGV[0]));
    RETURN NULL;
END $function$;

CREATE OR REPLACE TRIGGER rights_changed AFTER UPDATE OF operator, active ON app_user
    FOR EACH ROW
    EXECUTE FUNCTION user_rights_changed('id');

CREATE OR REPLACE TRIGGER rights_changed AFTER DELETE OR UPDATE ON membership
    FOR EACH ROW
    EXECUTE FUNCTION user_rights_changed('user_id');

CREATE OR REPLACE TRIGGER revoked AFTER DELETE OR UPDATE OF revoked_at ON web_session
    FOR EACH ROW
    EXECUTE FUNCTION user_rights_changed('user_id');
