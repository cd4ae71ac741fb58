DROP POLICY IF EXISTS tenant ON space_assignment;
CREATE POLICY tenant ON space_assignment
    USING (community_id = (SELECT parkmesh_community()));
