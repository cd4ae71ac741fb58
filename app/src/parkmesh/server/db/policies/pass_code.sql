DROP POLICY IF EXISTS retention ON pass_code;
CREATE POLICY retention ON pass_code TO CURRENT_USER
    USING ((SELECT parkmesh_scope()) = 'retention');

DROP POLICY IF EXISTS tenant ON pass_code;
CREATE POLICY tenant ON pass_code
    USING (community_id = (SELECT parkmesh_community()));
