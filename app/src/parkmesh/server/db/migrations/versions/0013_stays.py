"""Stays: how long each plate was inside, projected from passages and corrections of presence.

``movement`` has what passages and corrections said of plates, with the plate as it was understood when the passage was
projected. ``stay`` follows from it. ``stay_progress`` is how far each gateway's events are projected. It refers to no
gateway: the check would wait for the lock that ingestion holds on the gateway's row.
"""

from alembic import op

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None

APP = "parkmesh_app"

TABLES = f"""
CREATE TABLE movement (
    community_id bigint NOT NULL REFERENCES community,
    plate text NOT NULL,
    at timestamptz NOT NULL,
    gateway_id bigint NOT NULL,
    epoch bigint NOT NULL,
    seq bigint NOT NULL,
    inside boolean NOT NULL,
    passage_id bigint,
    PRIMARY KEY (community_id, plate, at, gateway_id, epoch, seq)
);
COMMENT ON TABLE movement IS 'what passages and corrections said of plates: the source of stays';
COMMENT ON COLUMN movement.plate IS 'of the credential where a read was a misread of it';
COMMENT ON COLUMN movement.gateway_id IS '0: a correction, whose id is in seq';

CREATE TABLE stay (
    community_id bigint NOT NULL REFERENCES community,
    id bigint GENERATED ALWAYS AS IDENTITY,
    plate text NOT NULL,
    credential_id bigint,
    visitor_pass_id bigint,
    unit_id bigint,
    entered_at timestamptz NOT NULL,
    entered_gateway bigint NOT NULL,
    entered_epoch bigint NOT NULL,
    entered_seq bigint NOT NULL,
    entered_passage bigint,
    left_at timestamptz,
    left_passage bigint,
    closed_by text CHECK (closed_by IN ('exit', 'missed_exit', 'correction', 'timeout')),
    PRIMARY KEY (community_id, id),
    CONSTRAINT stay_of_an_entry
        UNIQUE (community_id, plate, entered_at, entered_gateway, entered_epoch, entered_seq),
    CHECK ((left_at IS NULL) = (closed_by IS NULL))
) WITH (fillfactor = 80);
COMMENT ON TABLE stay IS 'the time of one plate inside';
COMMENT ON COLUMN stay.unit_id IS 'which held the plate when it entered';
COMMENT ON COLUMN stay.entered_gateway IS 'with epoch and seq: the movement that began it; 0: a correction';
COMMENT ON COLUMN stay.entered_passage IS 'null: a correction began it';
COMMENT ON COLUMN stay.left_passage IS 'null where no exit was seen';
CREATE UNIQUE INDEX stay_open ON stay (community_id, plate) WHERE left_at IS NULL;
CREATE INDEX stay_entered ON stay (community_id, entered_at, id);

CREATE TABLE stay_progress (
    community_id bigint NOT NULL REFERENCES community,
    gateway_id bigint NOT NULL,
    epoch bigint NOT NULL,
    seq bigint NOT NULL,
    PRIMARY KEY (community_id, gateway_id)
) WITH (fillfactor = 50);
COMMENT ON TABLE stay_progress IS 'the last event of each gateway that is in stays; gateway 0: the last correction';

GRANT SELECT, INSERT ON movement TO {APP};
GRANT SELECT, INSERT, UPDATE, DELETE ON stay TO {APP};
GRANT SELECT, INSERT, UPDATE ON stay_progress TO {APP};
"""
ROW_SECURITY = "".join(
    f"""
    ALTER TABLE {table} ENABLE ROW LEVEL SECURITY;
    ALTER TABLE {table} FORCE ROW LEVEL SECURITY;
    CREATE POLICY tenant ON {table} USING (community_id = (SELECT parkmesh_community()));
    CREATE POLICY retention ON {table} TO CURRENT_USER USING ((SELECT parkmesh_scope()) = 'retention');
    """
    for table in ("movement", "stay", "stay_progress")
) + "".join(
    f"CREATE POLICY server ON {table} FOR SELECT USING ((SELECT parkmesh_scope()) = 'server');"
    for table in ("stay_progress", "gateway", "presence_correction")
)


def upgrade() -> None:
    driver = op.get_bind().connection.dbapi_connection
    assert driver is not None
    driver.run_async(lambda connection: connection.execute(TABLES + ROW_SECURITY))


def downgrade() -> None:
    raise NotImplementedError("servers of this release cannot run without these tables")
