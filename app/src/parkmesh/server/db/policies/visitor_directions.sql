DROP POLICY IF EXISTS tenant ON visitor_directions;
CREATE POLICY tenant ON visitor_directions
    USING (community_id = (SELECT parkmesh_community()));
