DROP POLICY IF EXISTS tenant ON community_rules;
CREATE POLICY tenant ON community_rules
    USING (community_id = (SELECT parkmesh_community()));
