DROP POLICY IF EXISTS account ON message;
CREATE POLICY account ON message
    USING (community_id IS NULL AND (SELECT parkmesh_scope()) = 'identity');

DROP POLICY IF EXISTS desk ON message;
CREATE POLICY desk ON message FOR SELECT
    USING (dead_at IS NOT NULL AND (SELECT parkmesh_scope()) = 'desk');

DROP POLICY IF EXISTS mails ON message;
CREATE POLICY mails ON message
    USING ((SELECT parkmesh_scope()) = 'mails');

-- Servers of the release before give up mails of kinds that they don't know: they see those that they can make. It ends
-- with the next release.
DROP POLICY IF EXISTS outbox ON message;
CREATE POLICY outbox ON message
    USING (kind = ANY (ARRAY['invitation', 'password-link']) AND (SELECT parkmesh_scope()) = 'outbox');

DROP POLICY IF EXISTS retention ON message;
CREATE POLICY retention ON message TO CURRENT_USER
    USING ((SELECT parkmesh_scope()) = 'retention');

DROP POLICY IF EXISTS tenant ON message;
CREATE POLICY tenant ON message
    USING (community_id = (SELECT parkmesh_community()));
