DROP POLICY IF EXISTS retention ON passage_count;
CREATE POLICY retention ON passage_count TO CURRENT_USER
    USING ((SELECT parkmesh_scope()) = 'retention');

DROP POLICY IF EXISTS tenant ON passage_count;
CREATE POLICY tenant ON passage_count
    USING (community_id = (SELECT parkmesh_community()));
