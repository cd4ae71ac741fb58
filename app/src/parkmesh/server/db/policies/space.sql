DROP POLICY IF EXISTS tenant ON space;
CREATE POLICY tenant ON space
    USING (community_id = (SELECT parkmesh_community()));
