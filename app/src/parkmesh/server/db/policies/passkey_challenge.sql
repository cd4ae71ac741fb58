DROP POLICY IF EXISTS identity ON passkey_challenge;
CREATE POLICY identity ON passkey_challenge
    USING ((SELECT parkmesh_scope()) = 'identity');
