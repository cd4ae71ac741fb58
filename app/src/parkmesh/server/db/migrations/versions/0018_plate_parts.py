"""Plates found by any part of them: each plate of passages and stays, under each of its endings.

The plate of a stay may be in no passage: it is the credential's where a camera misread it.

A part of a plate is the beginning of one of its endings, so a range of a B-tree finds it. A trigram index on
``passage`` would not: LIKE isn't leakproof, so row-level security keeps it from every index; and each passage would pay
for it, while a plate is new only once.

What is stored now is added here, and what comes later by the servers (``access/plate_search.py``), which read on from
where revision 0014 began, so none is missed. The revision can be repeated.
"""

from typing import Any

from alembic import op

revision = "0018"
down_revision = "0017"
branch_labels = None
depends_on = None

APP = "parkmesh_app"

TABLES = f"""
CREATE TABLE IF NOT EXISTS plate_part (
    community_id bigint NOT NULL REFERENCES community,
    part text COLLATE "C" NOT NULL,
    plate text COLLATE "C" NOT NULL,
    PRIMARY KEY (community_id, part, plate)
);
COMMENT ON TABLE plate_part IS 'the plates of passages and stays under each of their endings, to search by any part';

GRANT SELECT, INSERT ON plate_part TO {APP};
ALTER TABLE plate_part ENABLE ROW LEVEL SECURITY;
ALTER TABLE plate_part FORCE ROW LEVEL SECURITY;
DROP POLICY IF EXISTS retention ON plate_part;
CREATE POLICY retention ON plate_part TO CURRENT_USER USING ((SELECT parkmesh_scope()) = 'retention');
DROP POLICY IF EXISTS tenant ON plate_part;
CREATE POLICY tenant ON plate_part USING (community_id = (SELECT parkmesh_community()));
"""
STORED = """
SELECT set_config('parkmesh.scope', 'retention', true);
INSERT INTO plate_part (community_id, part, plate)
    SELECT p.community_id, substr(p.plate, n), p.plate
    FROM (SELECT community_id, plate FROM passage WHERE plate <> '' AND plate NOT LIKE '~%'
          UNION SELECT community_id, plate FROM movement WHERE plate <> '' AND plate NOT LIKE '~%'
          UNION SELECT community_id, plate FROM stay WHERE plate <> '' AND plate NOT LIKE '~%') p,
        generate_series(1, length(p.plate)) n
    ORDER BY p.community_id, p.plate COLLATE "C", n
ON CONFLICT DO NOTHING;
"""


def upgrade() -> None:
    driver: Any = op.get_bind().connection.dbapi_connection
    assert driver is not None

    def run(script: str) -> None:
        driver.run_async(lambda connection: connection.execute(script))

    run(TABLES)
    run(STORED)


def downgrade() -> None:
    raise NotImplementedError("servers of this release cannot run without this table")
