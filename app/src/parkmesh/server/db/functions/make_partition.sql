CREATE OR REPLACE FUNCTION make_partition(p_table text, p_day date)
    RETURNS boolean
    LANGUAGE plpgsql
AS $function$
DECLARE
    v_name text := p_table || '_' || to_char(p_day, 'YYYYMMDD');
    v_default text := p_table || '_default';
    v_from timestamptz := p_day::timestamp AT TIME ZONE 'UTC';
    v_until timestamptz := (p_day + 1)::timestamp AT TIME ZONE 'UTC';
    v_scope text := current_setting('parkmesh.scope', true);
BEGIN
    IF to_regclass(v_name) IS NOT NULL THEN
        RETURN false;
    END IF;
    -- Nothing for this day comes to the default partition while its rows move out.
    EXECUTE format('LOCK TABLE %I IN SHARE UPDATE EXCLUSIVE MODE', p_table);
    EXECUTE format('LOCK TABLE %I IN ACCESS EXCLUSIVE MODE', v_default);
    EXECUTE format('CREATE TABLE %I (LIKE %I INCLUDING DEFAULTS INCLUDING INDEXES,
                                     CONSTRAINT bound CHECK (received_at >= %L AND received_at < %L))',
                   v_name, p_table, v_from, v_until);
    PERFORM set_config('parkmesh.scope', 'retention', true);
    PERFORM protect_partition(v_name::regclass);
    EXECUTE format('WITH moved AS (DELETE FROM %I WHERE received_at >= %L AND received_at < %L RETURNING *)
                    INSERT INTO %I SELECT * FROM moved', v_default, v_from, v_until, v_name);
    PERFORM set_config('parkmesh.scope', coalesce(v_scope, ''), true);
    EXECUTE format('ALTER TABLE %I ATTACH PARTITION %I FOR VALUES FROM (%L) TO (%L)',
                   p_table, v_name, v_from, v_until);
    EXECUTE format('ALTER TABLE %I DROP CONSTRAINT bound', v_name);
    RETURN true;
EXCEPTION WHEN invalid_object_definition THEN
    RETURN false;
END $function$;

COMMENT ON FUNCTION make_partition IS
    'make a table''s partition of a day (UTC); false where there is one already or the day belongs to passage_past';

REVOKE ALL ON FUNCTION make_partition FROM PUBLIC;
