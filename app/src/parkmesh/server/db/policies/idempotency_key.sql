DROP POLICY IF EXISTS outside ON idempotency_key;
CREATE POLICY outside ON idempotency_key
    USING ((community_id = 0) AND ((SELECT parkmesh_scope()) = 'provision'));

DROP POLICY IF EXISTS retention ON idempotency_key;
CREATE POLICY retention ON idempotency_key TO CURRENT_USER
    USING ((SELECT parkmesh_scope()) = 'retention');

DROP POLICY IF EXISTS tenant ON idempotency_key;
CREATE POLICY tenant ON idempotency_key
    USING (community_id = (SELECT parkmesh_community()));
