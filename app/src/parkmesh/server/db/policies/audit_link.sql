DROP POLICY IF EXISTS desk ON audit_link;
CREATE POLICY desk ON audit_link FOR SELECT
    USING ((community_id = 0) AND ((SELECT parkmesh_scope()) = 'desk'));

DROP POLICY IF EXISTS tenant ON audit_link;
CREATE POLICY tenant ON audit_link
    USING (community_id = (SELECT parkmesh_community()));
