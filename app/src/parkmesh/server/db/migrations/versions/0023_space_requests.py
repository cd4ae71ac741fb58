"""The waiting list for spaces of one's own: who asks for one since when, and who was passed over with which, and why.

Servers of the previous release know nothing of it: until they are gone, they assign spaces to anybody.
"""

from alembic import op

revision = "0023"
down_revision = "0022"
branch_labels = None
depends_on = None

APP = "parkmesh_app"

TABLES = f"""
CREATE TABLE space_request (
    community_id bigint NOT NULL REFERENCES community,
    id bigint GENERATED ALWAYS AS IDENTITY,
    unit_id bigint NOT NULL,
    resident_id bigint,
    ev boolean NOT NULL,
    accessible boolean NOT NULL,
    level text,
    state text NOT NULL DEFAULT 'waiting' CHECK (state IN ('waiting', 'offered', 'assigned', 'left')),
    space_id bigint,
    round_at timestamptz,
    offered_until timestamptz,
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    ended_at timestamptz,
    PRIMARY KEY (community_id, id),
    FOREIGN KEY (community_id, unit_id) REFERENCES unit,
    FOREIGN KEY (community_id, resident_id) REFERENCES resident ON DELETE SET NULL (resident_id),
    FOREIGN KEY (community_id, level) REFERENCES level (community_id, name)
        ON UPDATE CASCADE ON DELETE SET NULL (level),
    FOREIGN KEY (community_id, space_id) REFERENCES space,
    CHECK ((space_id IS NULL) = (state IN ('waiting', 'left'))),
    CHECK ((round_at IS NULL) = (state <> 'offered') AND (offered_until IS NULL) = (state <> 'offered')),
    CHECK ((ended_at IS NULL) = (state IN ('waiting', 'offered')))
);
COMMENT ON TABLE space_request IS 'units that ask for a space of their own, the first come first';
COMMENT ON COLUMN space_request.space_id IS 'what is offered or was assigned';
COMMENT ON COLUMN space_request.round_at IS 'since when staff let the list offer the space, one unit after the other';
CREATE UNIQUE INDEX space_request_unit_open ON space_request (community_id, unit_id)
    WHERE state IN ('waiting', 'offered');
CREATE UNIQUE INDEX space_request_offered ON space_request (community_id, space_id) WHERE state = 'offered';
CREATE INDEX space_request_order ON space_request (community_id, created_at, id);
CREATE INDEX space_request_unit ON space_request (community_id, unit_id);
CREATE INDEX space_request_space ON space_request (community_id, space_id) WHERE space_id IS NOT NULL;

CREATE TABLE space_request_pass (
    community_id bigint NOT NULL REFERENCES community,
    id bigint GENERATED ALWAYS AS IDENTITY,
    request_id bigint NOT NULL,
    space_id bigint,
    why text NOT NULL CHECK (why IN ('declined', 'lapsed', 'staff')),
    reason text CHECK (length(reason) BETWEEN 3 AND 200),
    at timestamptz NOT NULL,
    PRIMARY KEY (community_id, id),
    FOREIGN KEY (community_id, request_id) REFERENCES space_request ON DELETE CASCADE,
    FOREIGN KEY (community_id, space_id) REFERENCES space ON DELETE SET NULL (space_id)
);
COMMENT ON TABLE space_request_pass IS 'spaces that others got although this one waited longer and they fit, and why';
COMMENT ON COLUMN space_request_pass.reason IS 'what staff said; null: declined, or not answered in time';
CREATE INDEX space_request_pass_request ON space_request_pass (community_id, request_id, id);
CREATE INDEX space_request_pass_space ON space_request_pass (community_id, space_id);

GRANT SELECT, INSERT, UPDATE ON space_request, space_request_pass TO {APP};
"""  # noqa: S608 - a constant
ROW_SECURITY = (
    "".join(
        f"""
    ALTER TABLE {table} ENABLE ROW LEVEL SECURITY;
    ALTER TABLE {table} FORCE ROW LEVEL SECURITY;
    CREATE POLICY tenant ON {table} USING (community_id = (SELECT parkmesh_community()));
    CREATE POLICY retention ON {table} TO CURRENT_USER USING ((SELECT parkmesh_scope()) = 'retention');
    """
        for table in ("space_request", "space_request_pass")
    )
    + "CREATE POLICY server ON space_request FOR SELECT USING ((SELECT parkmesh_scope()) = 'server');"
)


def upgrade() -> None:
    driver = op.get_bind().connection.dbapi_connection
    assert driver is not None
    driver.run_async(lambda connection: connection.execute(TABLES + ROW_SECURITY))


def downgrade() -> None:
    raise NotImplementedError("servers of this release cannot run without these tables")
