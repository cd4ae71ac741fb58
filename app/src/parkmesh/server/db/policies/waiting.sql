DROP POLICY IF EXISTS retention ON waiting;
CREATE POLICY retention ON waiting TO CURRENT_USER
    USING ((SELECT parkmesh_scope()) = 'retention');

DROP POLICY IF EXISTS server ON waiting;
CREATE POLICY server ON waiting FOR SELECT
    USING ((SELECT parkmesh_scope()) = 'server');

DROP POLICY IF EXISTS tenant ON waiting;
CREATE POLICY tenant ON waiting
    USING (community_id = (SELECT parkmesh_community()));
