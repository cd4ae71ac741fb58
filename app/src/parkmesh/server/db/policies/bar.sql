DROP POLICY IF EXISTS retention ON bar;
CREATE POLICY retention ON bar TO CURRENT_USER
    USING ((SELECT parkmesh_scope()) = 'retention');

DROP POLICY IF EXISTS tenant ON bar;
CREATE POLICY tenant ON bar
    USING (community_id = (SELECT parkmesh_community()));
