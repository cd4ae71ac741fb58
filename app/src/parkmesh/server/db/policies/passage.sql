DROP POLICY IF EXISTS retention ON passage;
CREATE POLICY retention ON passage TO CURRENT_USER
    USING ((SELECT parkmesh_scope()) = 'retention');

DROP POLICY IF EXISTS tenant ON passage;
CREATE POLICY tenant ON passage
    USING (community_id = (SELECT parkmesh_community()));
