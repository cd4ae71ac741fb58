DROP POLICY IF EXISTS bearer ON invitation;
CREATE POLICY bearer ON invitation FOR SELECT
    USING ((SELECT parkmesh_scope()) = 'identity'
           AND (token_sha256 = (SELECT parkmesh_invitation_token()) OR email = (SELECT parkmesh_invitation_email())));

DROP POLICY IF EXISTS retention ON invitation;
CREATE POLICY retention ON invitation TO CURRENT_USER
    USING ((SELECT parkmesh_scope()) = 'retention');

DROP POLICY IF EXISTS tenant ON invitation;
CREATE POLICY tenant ON invitation
    USING (community_id = (SELECT parkmesh_community()));
