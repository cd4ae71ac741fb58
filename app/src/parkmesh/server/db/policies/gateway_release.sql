DROP POLICY IF EXISTS everybody ON gateway_release;
CREATE POLICY everybody ON gateway_release FOR SELECT
    USING (true);

DROP POLICY IF EXISTS server ON gateway_release;
CREATE POLICY server ON gateway_release
    USING ((SELECT parkmesh_scope()) = 'server');
