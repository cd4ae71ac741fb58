DROP POLICY IF EXISTS server ON community_rules;
CREATE POLICY server ON community_rules FOR SELECT
    USING ((SELECT parkmesh_scope()) = 'server');

DROP POLICY IF EXISTS tenant ON community_rules;
CREATE POLICY tenant ON community_rules
    USING (community_id = (SELECT parkmesh_community()));
