DROP POLICY IF EXISTS tenant ON sharing_exception;
CREATE POLICY tenant ON sharing_exception
    USING (community_id = (SELECT parkmesh_community()));
