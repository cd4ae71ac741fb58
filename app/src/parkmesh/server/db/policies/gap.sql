DROP POLICY IF EXISTS desk ON gap;
CREATE POLICY desk ON gap FOR SELECT
    USING ((SELECT parkmesh_scope()) = 'desk');

DROP POLICY IF EXISTS retention ON gap;
CREATE POLICY retention ON gap TO CURRENT_USER
    USING ((SELECT parkmesh_scope()) = 'retention');

DROP POLICY IF EXISTS tenant ON gap;
CREATE POLICY tenant ON gap
    USING (community_id = (SELECT parkmesh_community()));
