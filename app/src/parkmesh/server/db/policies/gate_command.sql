DROP POLICY IF EXISTS retention ON gate_command;
CREATE POLICY retention ON gate_command TO CURRENT_USER
    USING ((SELECT parkmesh_scope()) = 'retention');

DROP POLICY IF EXISTS tenant ON gate_command;
CREATE POLICY tenant ON gate_command
    USING (community_id = (SELECT parkmesh_community()));
