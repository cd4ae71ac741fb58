DROP POLICY IF EXISTS retention ON gateway_outage;
CREATE POLICY retention ON gateway_outage TO CURRENT_USER
    USING ((SELECT parkmesh_scope()) = 'retention');

DROP POLICY IF EXISTS server ON gateway_outage;
CREATE POLICY server ON gateway_outage FOR SELECT
    USING ((SELECT parkmesh_scope()) = 'server');

DROP POLICY IF EXISTS tenant ON gateway_outage;
CREATE POLICY tenant ON gateway_outage
    USING (community_id = (SELECT parkmesh_community()));
