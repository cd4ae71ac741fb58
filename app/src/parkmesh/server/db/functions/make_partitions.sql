CREATE OR REPLACE FUNCTION make_partitions(p_days integer DEFAULT 7)
    RETURNS integer
    LANGUAGE sql
AS $function$
    SELECT count(*) FILTER (WHERE make_partition(t, d::date))::integer
    FROM (VALUES (1, 'passage'), (2, 'observation')) o (n, t),
         generate_series((now() AT TIME ZONE 'UTC')::date, (now() AT TIME ZONE 'UTC')::date + p_days, '1 day') d
$function$;

COMMENT ON FUNCTION make_partitions IS
    'make the partitions of today and the days ahead; how many were missing';

REVOKE ALL ON FUNCTION make_partitions FROM PUBLIC;
