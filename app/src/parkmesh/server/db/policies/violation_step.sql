DROP POLICY IF EXISTS retention ON violation_step;
CREATE POLICY retention ON violation_step TO CURRENT_USER
    USING ((SELECT parkmesh_scope()) = 'retention');

DROP POLICY IF EXISTS tenant ON violation_step;
CREATE POLICY tenant ON violation_step
    USING (community_id = (SELECT parkmesh_community()));
