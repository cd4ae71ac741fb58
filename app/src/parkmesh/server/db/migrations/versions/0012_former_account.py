"""The account that a person had in a community and has no more.

An account was found by the person's address, which administrators enter: they could name anybody's. Who joined by an
invitation and left before this revision is found in the audit trail.
"""

from alembic import op

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None

FORMER = """
ALTER TABLE resident ADD COLUMN former_user_id bigint;
COMMENT ON COLUMN resident.former_user_id IS 'the account that left the community last; it is erased with the person '
    'where it belongs nowhere else';
DO $$
DECLARE
    v_community bigint;
BEGIN
    PERFORM set_config('parkmesh.scope', 'provision', true);
    FOR v_community IN SELECT id FROM community LOOP
        PERFORM set_config('parkmesh.community', v_community::text, true);
        UPDATE resident r SET former_user_id = e.user_id
            FROM (SELECT DISTINCT ON (detail::jsonb ->> 'resident') detail::jsonb ->> 'resident' AS resident, user_id
                  FROM audit_entry WHERE community_id = v_community AND action = 'invitation.accept'
                  ORDER BY 1, id DESC) e
            WHERE r.community_id = v_community AND r.id::text = e.resident AND r.erased_at IS NULL
              AND NOT EXISTS (SELECT FROM membership m
                              WHERE m.community_id = v_community AND m.resident_id = r.id);
    END LOOP;
    PERFORM set_config('parkmesh.community', '', true);
    PERFORM set_config('parkmesh.scope', '', true);
END $$;
"""


def upgrade() -> None:
    driver = op.get_bind().connection.dbapi_connection
    assert driver is not None
    driver.run_async(lambda connection: connection.execute(FORMER))


def downgrade() -> None:
    raise NotImplementedError("servers of this release cannot run without this column")
