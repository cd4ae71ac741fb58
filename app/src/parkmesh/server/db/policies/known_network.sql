DROP POLICY IF EXISTS identity ON known_network;
CREATE POLICY identity ON known_network
    USING ((SELECT parkmesh_scope()) = 'identity');
