DROP POLICY IF EXISTS tenant ON shared_window;
CREATE POLICY tenant ON shared_window
    USING (community_id = (SELECT parkmesh_community()));
