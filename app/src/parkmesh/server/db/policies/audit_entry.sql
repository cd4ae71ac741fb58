DROP POLICY IF EXISTS desk ON audit_entry;
CREATE POLICY desk ON audit_entry FOR SELECT
    USING ((community_id = 0) AND ((SELECT parkmesh_scope()) = 'desk'));

DROP POLICY IF EXISTS outside ON audit_entry;
CREATE POLICY outside ON audit_entry FOR INSERT
    WITH CHECK (((community_id = 0) AND ((SELECT parkmesh_scope()) = ANY (ARRAY['identity', 'provision']))));

DROP POLICY IF EXISTS tenant ON audit_entry;
CREATE POLICY tenant ON audit_entry
    USING (community_id = (SELECT parkmesh_community()));
