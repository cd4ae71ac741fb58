"""Plates found by any part of them: each plate of passages and stays once.

The plate of a stay may be in no passage: it is the credential's where a camera misread it.

Some ten thousand plates of a community are looked through in milliseconds. A trigram index wouldn't serve: LIKE isn't
leakproof, so row-level security keeps it from every index. Each plate under each of its endings, which a range of a key
finds, cost seven rows for each new plate and made ingestion dearer.

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
CREATE TABLE IF NOT EXISTS seen_plate (
    community_id bigint NOT NULL REFERENCES community,
    plate text COLLATE "C" NOT NULL,
    PRIMARY KEY (community_id, plate)
);
COMMENT ON TABLE seen_plate IS 'the plates of passages and stays, to search by any part';

GRANT SELECT, INSERT ON seen_plate TO {APP};
ALTER TABLE seen_plate ENABLE ROW LEVEL SECURITY;
ALTER TABLE seen_plate FORCE ROW LEVEL SECURITY;
DROP POLICY IF EXISTS retention ON seen_plate;
CREATE POLICY retention ON seen_plate TO CURRENT_USER USING ((SELECT parkmesh_scope()) = 'retention');
DROP POLICY IF EXISTS tenant ON seen_plate;
CREATE POLICY tenant ON seen_plate USING (community_id = (SELECT parkmesh_community()));
"""
STORED = """
SELECT set_config('parkmesh.scope', 'retention', true);
INSERT INTO seen_plate (community_id, plate)
    SELECT p.community_id, p.plate
    FROM (SELECT community_id, plate FROM passage WHERE plate <> '' AND plate NOT LIKE '~%'
          UNION SELECT community_id, plate FROM movement WHERE plate <> '' AND plate NOT LIKE '~%'
          UNION SELECT community_id, plate FROM stay WHERE plate <> '' AND plate NOT LIKE '~%') p
    ORDER BY p.community_id, p.plate COLLATE "C"
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
