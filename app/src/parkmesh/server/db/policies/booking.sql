DROP POLICY IF EXISTS retention ON booking;
CREATE POLICY retention ON booking TO CURRENT_USER
    USING ((SELECT parkmesh_scope()) = 'retention');

DROP POLICY IF EXISTS server ON booking;
CREATE POLICY server ON booking FOR SELECT
    USING ((SELECT parkmesh_scope()) = 'server');

DROP POLICY IF EXISTS tenant ON booking;
CREATE POLICY tenant ON booking
    USING (community_id = (SELECT parkmesh_community()));
