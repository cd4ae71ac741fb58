DROP POLICY IF EXISTS retention ON digest;
CREATE POLICY retention ON digest TO CURRENT_USER
    USING ((SELECT parkmesh_scope()) = 'retention');

DROP POLICY IF EXISTS server ON digest;
CREATE POLICY server ON digest FOR SELECT
    USING ((SELECT parkmesh_scope()) = 'server');

DROP POLICY IF EXISTS tenant ON digest;
CREATE POLICY tenant ON digest
    USING (community_id = (SELECT parkmesh_community()));
