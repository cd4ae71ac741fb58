DROP POLICY IF EXISTS everybody ON server;
CREATE POLICY everybody ON server FOR SELECT
    USING (true);

DROP POLICY IF EXISTS itself ON server;
CREATE POLICY itself ON server
    USING ((SELECT parkmesh_scope()) = 'server');
