DROP POLICY IF EXISTS tenant ON sharing_rule;
CREATE POLICY tenant ON sharing_rule
    USING (community_id = (SELECT parkmesh_community()));
