DROP POLICY IF EXISTS identity ON web_session;
CREATE POLICY identity ON web_session
    USING ((SELECT parkmesh_scope()) = ANY (ARRAY['identity', 'provision']));
