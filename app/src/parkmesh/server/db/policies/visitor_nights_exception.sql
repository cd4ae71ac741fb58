DROP POLICY IF EXISTS retention ON visitor_nights_exception;
CREATE POLICY retention ON visitor_nights_exception TO CURRENT_USER
    USING ((SELECT parkmesh_scope()) = 'retention');

DROP POLICY IF EXISTS tenant ON visitor_nights_exception;
CREATE POLICY tenant ON visitor_nights_exception
    USING (community_id = (SELECT parkmesh_community()));
