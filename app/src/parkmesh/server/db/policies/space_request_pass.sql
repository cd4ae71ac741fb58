DROP POLICY IF EXISTS retention ON space_request_pass;
CREATE POLICY retention ON space_request_pass TO CURRENT_USER
    USING ((SELECT parkmesh_scope()) = 'retention');

DROP POLICY IF EXISTS tenant ON space_request_pass;
CREATE POLICY tenant ON space_request_pass
    USING (community_id = (SELECT parkmesh_community()));
