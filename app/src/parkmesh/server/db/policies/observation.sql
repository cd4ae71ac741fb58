DROP POLICY IF EXISTS retention ON observation;
CREATE POLICY retention ON observation TO CURRENT_USER
    USING ((SELECT parkmesh_scope()) = 'retention');

DROP POLICY IF EXISTS tenant ON observation;
CREATE POLICY tenant ON observation
    USING (community_id = (SELECT parkmesh_community()));
