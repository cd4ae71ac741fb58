DROP POLICY IF EXISTS member ON membership;
CREATE POLICY member ON membership FOR SELECT
    USING (((SELECT parkmesh_scope()) = 'identity') AND (user_id = (SELECT parkmesh_user())));

DROP POLICY IF EXISTS retention ON membership;
CREATE POLICY retention ON membership TO CURRENT_USER
    USING ((SELECT parkmesh_scope()) = 'retention');

DROP POLICY IF EXISTS tenant ON membership;
CREATE POLICY tenant ON membership
    USING (community_id = (SELECT parkmesh_community()));
