DROP POLICY IF EXISTS tenant ON lane;
CREATE POLICY tenant ON lane
    USING (community_id = (SELECT parkmesh_community()));
