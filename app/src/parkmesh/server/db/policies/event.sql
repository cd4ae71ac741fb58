DROP POLICY IF EXISTS provision ON event;
CREATE POLICY provision ON event FOR SELECT
    USING ((SELECT parkmesh_scope()) = 'provision');

DROP POLICY IF EXISTS retention ON event;
CREATE POLICY retention ON event TO CURRENT_USER
    USING ((SELECT parkmesh_scope()) = 'retention');

DROP POLICY IF EXISTS server ON event;
CREATE POLICY server ON event FOR SELECT
    USING ((SELECT parkmesh_scope()) = 'server');

DROP POLICY IF EXISTS tenant ON event;
CREATE POLICY tenant ON event
    USING (community_id = (SELECT parkmesh_community()));
