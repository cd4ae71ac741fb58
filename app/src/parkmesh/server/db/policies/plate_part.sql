DROP POLICY IF EXISTS retention ON plate_part;
CREATE POLICY retention ON plate_part TO CURRENT_USER
    USING ((SELECT parkmesh_scope()) = 'retention');

DROP POLICY IF EXISTS tenant ON plate_part;
CREATE POLICY tenant ON plate_part
    USING (community_id = (SELECT parkmesh_community()));
