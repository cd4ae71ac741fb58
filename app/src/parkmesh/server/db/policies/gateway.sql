DROP POLICY IF EXISTS desk ON gateway;
CREATE POLICY desk ON gateway FOR SELECT
    USING ((SELECT parkmesh_scope()) = 'desk');

DROP POLICY IF EXISTS ended ON gateway;
CREATE POLICY ended ON gateway AS RESTRICTIVE FOR SELECT
    USING ((token_ends_at IS NULL) OR (token_ends_at > now()) OR ((SELECT parkmesh_gateway_token()) IS NULL));

DROP POLICY IF EXISTS itself ON gateway;
CREATE POLICY itself ON gateway FOR SELECT
    USING (token_sha256 = (SELECT parkmesh_gateway_token()));

DROP POLICY IF EXISTS retention ON gateway;
CREATE POLICY retention ON gateway TO CURRENT_USER
    USING ((SELECT parkmesh_scope()) = 'retention');

DROP POLICY IF EXISTS server ON gateway;
CREATE POLICY server ON gateway FOR SELECT
    USING ((SELECT parkmesh_scope()) = 'server');

DROP POLICY IF EXISTS tenant ON gateway;
CREATE POLICY tenant ON gateway
    USING (community_id = (SELECT parkmesh_community()));
