DROP POLICY IF EXISTS retention ON former_pass_key;
CREATE POLICY retention ON former_pass_key TO CURRENT_USER
    USING ((SELECT parkmesh_scope()) = 'retention');

DROP POLICY IF EXISTS tenant ON former_pass_key;
CREATE POLICY tenant ON former_pass_key
    USING (community_id = (SELECT parkmesh_community()));
