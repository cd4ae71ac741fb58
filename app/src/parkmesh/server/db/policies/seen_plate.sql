DROP POLICY IF EXISTS retention ON seen_plate;
CREATE POLICY retention ON seen_plate TO CURRENT_USER
    USING ((SELECT parkmesh_scope()) = 'retention');

DROP POLICY IF EXISTS tenant ON seen_plate;
CREATE POLICY tenant ON seen_plate
    USING (community_id = (SELECT parkmesh_community()));
