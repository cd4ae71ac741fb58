DROP POLICY IF EXISTS retention ON space_request;
CREATE POLICY retention ON space_request TO CURRENT_USER
    USING ((SELECT parkmesh_scope()) = 'retention');

DROP POLICY IF EXISTS server ON space_request;
CREATE POLICY server ON space_request FOR SELECT
    USING ((SELECT parkmesh_scope()) = 'server');

DROP POLICY IF EXISTS tenant ON space_request;
CREATE POLICY tenant ON space_request
    USING (community_id = (SELECT parkmesh_community()));
