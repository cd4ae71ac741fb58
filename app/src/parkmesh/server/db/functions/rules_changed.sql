CREATE OR REPLACE FUNCTION rules_changed()
    RETURNS trigger
    LANGUAGE plpgsql
AS $function$
BEGIN
    PERFORM access_list_changed(NEW.community_id, '{}');
    RETURN NULL;
END $function$;

CREATE OR REPLACE TRIGGER changed AFTER UPDATE ON community_rules FOR EACH ROW WHEN (
    (old.lots_per_unit, old.anti_passback, old.entry_hold_s, old.exit_hold_s, old.refusal_hold_s,
     old.same_plate_window_s,
     old.plate_matching, old.exit_is_free, old.visitor_codes)
    IS DISTINCT FROM
    (new.lots_per_unit, new.anti_passback, new.entry_hold_s, new.exit_hold_s, new.refusal_hold_s,
     new.same_plate_window_s,
     new.plate_matching, new.exit_is_free, new.visitor_codes)
) EXECUTE FUNCTION rules_changed();

CREATE OR REPLACE TRIGGER made AFTER INSERT ON community_rules FOR EACH ROW EXECUTE FUNCTION rules_changed();
