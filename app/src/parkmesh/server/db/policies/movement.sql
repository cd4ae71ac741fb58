DROP POLICY IF EXISTS retention ON movement;
CREATE POLICY retention ON movement TO CURRENT_USER
    USING ((SELECT parkmesh_scope()) = 'retention');

DROP POLICY IF EXISTS tenant ON movement;
CREATE POLICY tenant ON movement
    USING (community_id = (SELECT parkmesh_community()));
