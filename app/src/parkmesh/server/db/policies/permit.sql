DROP POLICY IF EXISTS retention ON permit;
CREATE POLICY retention ON permit TO CURRENT_USER
    USING ((SELECT parkmesh_scope()) = 'retention');

DROP POLICY IF EXISTS tenant ON permit;
CREATE POLICY tenant ON permit
    USING (community_id = (SELECT parkmesh_community()));
