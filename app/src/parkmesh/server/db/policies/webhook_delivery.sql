DROP POLICY IF EXISTS desk ON webhook_delivery;
CREATE POLICY desk ON webhook_delivery FOR SELECT
    USING (community_id IS NULL AND (SELECT parkmesh_scope()) = 'desk');

DROP POLICY IF EXISTS outside ON webhook_delivery;
CREATE POLICY outside ON webhook_delivery
    USING (community_id IS NULL AND (SELECT parkmesh_scope()) = 'provision');

DROP POLICY IF EXISTS retention ON webhook_delivery;
CREATE POLICY retention ON webhook_delivery TO CURRENT_USER
    USING ((SELECT parkmesh_scope()) = 'retention');

DROP POLICY IF EXISTS tenant ON webhook_delivery;
CREATE POLICY tenant ON webhook_delivery
    USING (community_id = (SELECT parkmesh_community()));

DROP POLICY IF EXISTS webhooks ON webhook_delivery;
CREATE POLICY webhooks ON webhook_delivery
    USING ((SELECT parkmesh_scope()) = 'webhooks');
