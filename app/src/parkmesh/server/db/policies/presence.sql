DROP POLICY IF EXISTS retention ON presence;
CREATE POLICY retention ON presence TO CURRENT_USER
    USING ((SELECT parkmesh_scope()) = 'retention');

DROP POLICY IF EXISTS tenant ON presence;
CREATE POLICY tenant ON presence
    USING (community_id = (SELECT parkmesh_community()));
