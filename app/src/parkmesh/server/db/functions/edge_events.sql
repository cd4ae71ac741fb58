CREATE OR REPLACE FUNCTION edge_events(
    p_token bytea, p_epoch bigint, p_first bigint, p_last bigint, p_seq bigint[], p_received bigint[], p_device
    bigint[], p_gate text[], p_direction text[], p_plate text[], p_decision text[], p_reason text[], p_opened
    boolean[], p_credential text[], p_list_version bigint[], p_confidence real[], p_camera text[], p_device_event
    text[], s_seq bigint[], s_received bigint[], s_space text[], s_status text[], d_seq bigint[], d_received
    bigint[], d_kind text[], d_dropped bigint[], OUT outcome text, OUT epoch bigint, OUT mark bigint
)
    RETURNS record
    LANGUAGE plpgsql
AS $function$
DECLARE
    v_community bigint;
BEGIN
    SELECT b.outcome, b.epoch, b.mark, b.community_id INTO outcome, epoch, mark, v_community FROM edge_batch(
        p_token, p_epoch, p_first, p_last, p_seq, p_received, p_device, p_gate, p_direction, p_plate,
        p_decision, p_reason, p_opened, p_credential, p_list_version, p_confidence, p_camera, p_device_event,
        s_seq, s_received, s_space, s_status, d_seq, d_received, d_kind, d_dropped
    ) b;
    IF outcome = 'applied' THEN
        PERFORM pg_notify('parkmesh_live', v_community || ':psg');
    END IF;
END $function$;

COMMENT ON FUNCTION edge_events IS
    'edge_batch, announced in its own transaction';
