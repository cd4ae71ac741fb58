DROP POLICY IF EXISTS tenant ON resident;
CREATE POLICY tenant ON resident
    USING (community_id = (SELECT parkmesh_community()));
