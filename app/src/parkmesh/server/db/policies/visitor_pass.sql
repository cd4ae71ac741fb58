DROP POLICY IF EXISTS retention ON visitor_pass;
CREATE POLICY retention ON visitor_pass TO CURRENT_USER
    USING ((SELECT parkmesh_scope()) = 'retention');

DROP POLICY IF EXISTS server ON visitor_pass;
CREATE POLICY server ON visitor_pass FOR SELECT
    USING ((SELECT parkmesh_scope()) = 'server');

DROP POLICY IF EXISTS tenant ON visitor_pass;
CREATE POLICY tenant ON visitor_pass
    USING (community_id = (SELECT parkmesh_community()));
