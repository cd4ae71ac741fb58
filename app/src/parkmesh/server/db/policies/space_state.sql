DROP POLICY IF EXISTS server ON space_state;
CREATE POLICY server ON space_state FOR SELECT
    USING ((SELECT parkmesh_scope()) = 'server');

DROP POLICY IF EXISTS tenant ON space_state;
CREATE POLICY tenant ON space_state
    USING (community_id = (SELECT parkmesh_community()));
