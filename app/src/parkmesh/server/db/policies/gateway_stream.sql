DROP POLICY IF EXISTS server ON gateway_stream;
CREATE POLICY server ON gateway_stream
    USING ((SELECT parkmesh_scope()) = 'server');

DROP POLICY IF EXISTS tenant ON gateway_stream;
CREATE POLICY tenant ON gateway_stream
    USING (community_id = (SELECT parkmesh_community()));
