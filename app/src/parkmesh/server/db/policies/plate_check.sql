DROP POLICY IF EXISTS retention ON plate_check;
CREATE POLICY retention ON plate_check TO CURRENT_USER
    USING ((SELECT parkmesh_scope()) = 'retention');

DROP POLICY IF EXISTS tenant ON plate_check;
CREATE POLICY tenant ON plate_check
    USING (community_id = (SELECT parkmesh_community()));
