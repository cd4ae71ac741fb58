DROP POLICY IF EXISTS retention ON violation;
CREATE POLICY retention ON violation TO CURRENT_USER
    USING ((SELECT parkmesh_scope()) = 'retention');

DROP POLICY IF EXISTS tenant ON violation;
CREATE POLICY tenant ON violation
    USING (community_id = (SELECT parkmesh_community()));
