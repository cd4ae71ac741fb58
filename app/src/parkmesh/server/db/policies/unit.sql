DROP POLICY IF EXISTS tenant ON unit;
CREATE POLICY tenant ON unit
    USING (community_id = (SELECT parkmesh_community()));
