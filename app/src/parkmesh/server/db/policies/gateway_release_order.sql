DROP POLICY IF EXISTS desk ON gateway_release_order;
CREATE POLICY desk ON gateway_release_order FOR SELECT
    USING ((SELECT parkmesh_scope()) = 'desk');

DROP POLICY IF EXISTS retention ON gateway_release_order;
CREATE POLICY retention ON gateway_release_order TO CURRENT_USER
    USING ((SELECT parkmesh_scope()) = 'retention');

DROP POLICY IF EXISTS server ON gateway_release_order;
CREATE POLICY server ON gateway_release_order
    USING ((SELECT parkmesh_scope()) = 'server');

DROP POLICY IF EXISTS tenant ON gateway_release_order;
CREATE POLICY tenant ON gateway_release_order
    USING (community_id = (SELECT parkmesh_community()));
