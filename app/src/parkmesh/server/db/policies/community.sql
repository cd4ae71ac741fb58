DROP POLICY IF EXISTS desk ON community;
CREATE POLICY desk ON community FOR SELECT
    USING ((SELECT parkmesh_scope()) = 'desk');

DROP POLICY IF EXISTS member ON community;
CREATE POLICY member ON community FOR SELECT
    USING (((SELECT parkmesh_scope()) = 'identity') AND (EXISTS ( SELECT
   FROM membership m
  WHERE ((m.community_id = community.id) AND (m.user_id = (SELECT parkmesh_user()))))));

DROP POLICY IF EXISTS offboarded ON community;
CREATE POLICY offboarded ON community AS RESTRICTIVE FOR SELECT
    USING ((offboarded_at IS NULL) OR ((SELECT parkmesh_scope()) <> 'identity'));

DROP POLICY IF EXISTS provision ON community;
CREATE POLICY provision ON community
    USING ((SELECT parkmesh_scope()) = 'provision');

DROP POLICY IF EXISTS retention ON community;
CREATE POLICY retention ON community TO CURRENT_USER
    USING ((SELECT parkmesh_scope()) = 'retention');

DROP POLICY IF EXISTS server ON community;
CREATE POLICY server ON community FOR SELECT
    USING ((SELECT parkmesh_scope()) = 'server');

DROP POLICY IF EXISTS tenant ON community;
CREATE POLICY tenant ON community FOR SELECT
    USING (id = (SELECT parkmesh_community()));

DROP POLICY IF EXISTS tenant_update ON community;
CREATE POLICY tenant_update ON community FOR UPDATE
    USING (id = (SELECT parkmesh_community()));
