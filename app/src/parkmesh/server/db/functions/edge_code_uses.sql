-- Codes of visitor passes that opened gates, of a batch that is stored. Of two words on a pass the later holds, so that the
-- same again changes nothing. The trigger of pass_code has the community's gateways fetch the list, which tells them.
CREATE OR REPLACE FUNCTION edge_code_uses(p_token bytea, p_uses json)
    RETURNS void
    LANGUAGE plpgsql
AS $function$
DECLARE
    v_community bigint;
BEGIN
    SELECT i.community_id INTO v_community FROM edge_identify(p_token) i;
    UPDATE pass_code c SET used = u.direction, used_at = u.at
        FROM (SELECT DISTINCT ON (t.visitor_pass) t.visitor_pass, t.direction,
                     least(to_timestamp(t.received / 1000.0), clock_timestamp()) AS at
              FROM json_to_recordset(p_uses) AS t(visitor_pass bigint, direction text, received bigint)
              ORDER BY t.visitor_pass, t.received DESC) u
        WHERE c.community_id = v_community AND c.visitor_pass_id = u.visitor_pass
            AND (c.used_at IS NULL OR c.used_at < u.at);
END $function$;

COMMENT ON FUNCTION edge_code_uses IS 'which visitors'' codes opened gates, for the community''s other gateways';
