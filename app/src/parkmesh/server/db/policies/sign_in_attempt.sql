DROP POLICY IF EXISTS identity ON sign_in_attempt;
CREATE POLICY identity ON sign_in_attempt
    USING ((SELECT parkmesh_scope()) = 'identity');
