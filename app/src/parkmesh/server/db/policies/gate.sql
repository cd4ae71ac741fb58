DROP POLICY IF EXISTS tenant ON gate;
CREATE POLICY tenant ON gate
    USING (community_id = (SELECT parkmesh_community()));
