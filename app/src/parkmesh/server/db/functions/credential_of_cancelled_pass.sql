CREATE OR REPLACE FUNCTION credential_of_cancelled_pass()
    RETURNS trigger
    LANGUAGE plpgsql
AS $function$
BEGIN
    IF EXISTS (SELECT FROM visitor_pass p WHERE p.community_id = NEW.community_id AND p.id = NEW.visitor_pass_id
                                            AND p.status = 'cancelled') THEN
        NEW.status := 'revoked';
    END IF;
    RETURN NEW;
END $function$;

COMMENT ON FUNCTION credential_of_cancelled_pass IS
    'restoring a plate does not bring back a visitor''s cancelled pass';

CREATE OR REPLACE TRIGGER cancelled_pass BEFORE UPDATE OF status ON credential
    FOR EACH ROW
    WHEN (((new.visitor_pass_id IS NOT NULL) AND (new.status = 'active'::text)))
    EXECUTE FUNCTION credential_of_cancelled_pass();
