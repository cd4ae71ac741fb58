DROP POLICY IF EXISTS retention ON access_list_change;
CREATE POLICY retention ON access_list_change TO CURRENT_USER
    USING ((SELECT parkmesh_scope()) = 'retention');

DROP POLICY IF EXISTS tenant ON access_list_change;
CREATE POLICY tenant ON access_list_change
    USING (community_id = (SELECT parkmesh_community()));
