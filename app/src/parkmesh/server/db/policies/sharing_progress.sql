DROP POLICY IF EXISTS tenant ON sharing_progress;
CREATE POLICY tenant ON sharing_progress
    USING (community_id = (SELECT parkmesh_community()));
