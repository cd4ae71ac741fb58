DROP POLICY IF EXISTS desk ON audit_chain;
CREATE POLICY desk ON audit_chain FOR SELECT
    USING ((SELECT parkmesh_scope()) = 'desk');

DROP POLICY IF EXISTS tenant ON audit_chain;
CREATE POLICY tenant ON audit_chain
    USING (community_id = (SELECT parkmesh_community()));
