CREATE OR REPLACE FUNCTION audit_kept()
    RETURNS trigger
    LANGUAGE plpgsql
AS $function$
BEGIN
    IF TG_OP = 'UPDATE' AND TG_TABLE_NAME = 'audit_entry' THEN
        IF NEW.detail IS NULL AND NEW.salt IS NULL
            AND to_jsonb(NEW) - '{detail,salt}'::text[] = to_jsonb(OLD) - '{detail,salt}'::text[] THEN
            RETURN NEW;
        END IF;
    ELSIF TG_OP = 'UPDATE' AND TG_TABLE_NAME = 'audit_chain' THEN
        IF NEW.community_id = OLD.community_id AND NEW.entries = OLD.entries + 1 THEN
            RETURN NEW;
        END IF;
    ELSIF TG_OP = 'DELETE' THEN
        -- With the community, when the desk wanted that and the time to think again is over.
        IF EXISTS (SELECT FROM community c WHERE c.id = OLD.community_id AND c.deletion_due <= now()) THEN
            RETURN OLD;
        END IF;
    END IF;
    RAISE EXCEPTION 'the audit trail is only added to' USING ERRCODE = 'insufficient_privilege';
END $function$;

CREATE OR REPLACE TRIGGER kept BEFORE DELETE OR UPDATE ON audit_chain
    FOR EACH ROW
    EXECUTE FUNCTION audit_kept();

CREATE OR REPLACE TRIGGER kept_whole BEFORE TRUNCATE ON audit_chain
    FOR EACH STATEMENT
    EXECUTE FUNCTION audit_kept();

CREATE OR REPLACE TRIGGER kept BEFORE DELETE OR UPDATE ON audit_entry
    FOR EACH ROW
    EXECUTE FUNCTION audit_kept();

CREATE OR REPLACE TRIGGER kept_whole BEFORE TRUNCATE ON audit_entry
    FOR EACH STATEMENT
    EXECUTE FUNCTION audit_kept();

CREATE OR REPLACE TRIGGER kept BEFORE DELETE OR UPDATE ON audit_link
    FOR EACH ROW
    EXECUTE FUNCTION audit_kept();

CREATE OR REPLACE TRIGGER kept_whole BEFORE TRUNCATE ON audit_link
    FOR EACH STATEMENT
    EXECUTE FUNCTION audit_kept();
