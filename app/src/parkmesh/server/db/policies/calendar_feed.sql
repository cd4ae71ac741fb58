DROP POLICY IF EXISTS retention ON calendar_feed;
CREATE POLICY retention ON calendar_feed TO CURRENT_USER
    USING ((SELECT parkmesh_scope()) = 'retention');

DROP POLICY IF EXISTS tenant ON calendar_feed;
CREATE POLICY tenant ON calendar_feed
    USING (community_id = (SELECT parkmesh_community()));
