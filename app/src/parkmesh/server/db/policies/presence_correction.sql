DROP POLICY IF EXISTS retention ON presence_correction;
CREATE POLICY retention ON presence_correction TO CURRENT_USER
    USING ((SELECT parkmesh_scope()) = 'retention');

DROP POLICY IF EXISTS server ON presence_correction;
CREATE POLICY server ON presence_correction FOR SELECT
    USING ((SELECT parkmesh_scope()) = 'server');

DROP POLICY IF EXISTS tenant ON presence_correction;
CREATE POLICY tenant ON presence_correction
    USING (community_id = (SELECT parkmesh_community()));
