DROP POLICY IF EXISTS identity ON notification_preference;
CREATE POLICY identity ON notification_preference
    USING ((SELECT parkmesh_scope()) = 'identity');

DROP POLICY IF EXISTS retention ON notification_preference;
CREATE POLICY retention ON notification_preference TO CURRENT_USER
    USING ((SELECT parkmesh_scope()) = 'retention');
