DROP POLICY IF EXISTS retention ON stay;
CREATE POLICY retention ON stay TO CURRENT_USER
    USING ((SELECT parkmesh_scope()) = 'retention');

DROP POLICY IF EXISTS server ON stay;
CREATE POLICY server ON stay FOR SELECT
    USING ((SELECT parkmesh_scope()) = 'server');

DROP POLICY IF EXISTS tenant ON stay;
CREATE POLICY tenant ON stay
    USING (community_id = (SELECT parkmesh_community()));
