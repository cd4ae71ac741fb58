DROP POLICY IF EXISTS identity ON password_link;
CREATE POLICY identity ON password_link
    USING ((SELECT parkmesh_scope()) = 'identity');
