DROP POLICY IF EXISTS retention ON credential;
CREATE POLICY retention ON credential TO CURRENT_USER
    USING ((SELECT parkmesh_scope()) = 'retention');

DROP POLICY IF EXISTS tenant ON credential;
CREATE POLICY tenant ON credential
    USING (community_id = (SELECT parkmesh_community()));
