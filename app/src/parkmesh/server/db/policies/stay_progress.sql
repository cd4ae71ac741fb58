DROP POLICY IF EXISTS retention ON stay_progress;
CREATE POLICY retention ON stay_progress TO CURRENT_USER
    USING ((SELECT parkmesh_scope()) = 'retention');

DROP POLICY IF EXISTS server ON stay_progress;
CREATE POLICY server ON stay_progress FOR SELECT
    USING ((SELECT parkmesh_scope()) = 'server');

DROP POLICY IF EXISTS tenant ON stay_progress;
CREATE POLICY tenant ON stay_progress
    USING (community_id = (SELECT parkmesh_community()));
