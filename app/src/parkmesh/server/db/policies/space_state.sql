DROP POLICY IF EXISTS tenant ON space_state;
CREATE POLICY tenant ON space_state
    USING (community_id = (SELECT parkmesh_community()));
