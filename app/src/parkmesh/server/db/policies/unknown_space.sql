DROP POLICY IF EXISTS tenant ON unknown_space;
CREATE POLICY tenant ON unknown_space
    USING (community_id = (SELECT parkmesh_community()));
