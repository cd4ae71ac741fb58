DROP POLICY IF EXISTS identity ON notification_preference;
CREATE POLICY identity ON notification_preference
    USING ((SELECT parkmesh_scope()) = 'identity');

DROP POLICY IF EXISTS retention ON notification_preference;
CREATE POLICY retention ON notification_preference TO CURRENT_USER
    USING ((SELECT parkmesh_scope()) = 'retention');

DROP POLICY IF EXISTS tenant ON notification_preference;
CREATE POLICY tenant ON notification_preference
    USING (community_id = (SELECT parkmesh_community()));
