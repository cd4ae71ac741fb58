DROP POLICY IF EXISTS identity ON passkey;
CREATE POLICY identity ON passkey
    USING ((SELECT parkmesh_scope()) = 'identity');
