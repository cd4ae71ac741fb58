DROP POLICY IF EXISTS identity ON app_user;
CREATE POLICY identity ON app_user
    USING ((SELECT parkmesh_scope()) = ANY (ARRAY['identity', 'provision']));
