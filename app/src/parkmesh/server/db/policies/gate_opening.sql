DROP POLICY IF EXISTS retention ON gate_opening;
CREATE POLICY retention ON gate_opening TO CURRENT_USER
    USING ((SELECT parkmesh_scope()) = 'retention');

DROP POLICY IF EXISTS tenant ON gate_opening;
CREATE POLICY tenant ON gate_opening
    USING (community_id = (SELECT parkmesh_community()));
