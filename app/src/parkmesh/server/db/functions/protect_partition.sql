CREATE OR REPLACE FUNCTION protect_partition(p_table regclass)
    RETURNS void
    LANGUAGE plpgsql
AS $function$
BEGIN
    EXECUTE format('ALTER TABLE %s ENABLE ROW LEVEL SECURITY', p_table);
    EXECUTE format('ALTER TABLE %s FORCE ROW LEVEL SECURITY', p_table);
    EXECUTE format('CREATE POLICY tenant ON %s USING (community_id = (SELECT parkmesh_community()))', p_table);
    EXECUTE format('CREATE POLICY retention ON %s TO CURRENT_USER USING ((SELECT parkmesh_scope()) = ''retention'')',
        p_table);
END $function$;

COMMENT ON FUNCTION protect_partition IS
    'row-level security of a table partitioned by time and of its partitions';

REVOKE ALL ON FUNCTION protect_partition FROM PUBLIC;
