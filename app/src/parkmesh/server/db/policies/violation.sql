DROP POLICY IF EXISTS retention ON violation;
CREATE POLICY retention ON violation TO CURRENT_USER
    USING ((SELECT parkmesh_scope()) = 'retention');

DROP POLICY IF EXISTS server ON violation;
CREATE POLICY server ON violation FOR SELECT
    USING ((SELECT parkmesh_scope()) = 'server');

DROP POLICY IF EXISTS tenant ON violation;
CREATE POLICY tenant ON violation
    USING (community_id = (SELECT parkmesh_community()));
