DROP POLICY IF EXISTS tenant ON level;
CREATE POLICY tenant ON level
    USING (community_id = (SELECT parkmesh_community()));
