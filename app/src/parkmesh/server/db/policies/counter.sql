DROP POLICY IF EXISTS tenant ON counter;
CREATE POLICY tenant ON counter
    USING (community_id = (SELECT parkmesh_community()));
