DROP POLICY IF EXISTS everybody ON gateway_release_part;
CREATE POLICY everybody ON gateway_release_part FOR SELECT
    USING (true);

DROP POLICY IF EXISTS server ON gateway_release_part;
CREATE POLICY server ON gateway_release_part
    USING ((SELECT parkmesh_scope()) = 'server');
