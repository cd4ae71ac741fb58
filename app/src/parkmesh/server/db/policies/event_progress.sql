DROP POLICY IF EXISTS retention ON event_progress;
CREATE POLICY retention ON event_progress TO CURRENT_USER
    USING ((SELECT parkmesh_scope()) = 'retention');

DROP POLICY IF EXISTS server ON event_progress;
CREATE POLICY server ON event_progress FOR SELECT
    USING ((SELECT parkmesh_scope()) = 'server');

DROP POLICY IF EXISTS tenant ON event_progress;
CREATE POLICY tenant ON event_progress
    USING (community_id = (SELECT parkmesh_community()));
