"""Plates found by any part of them: each plate of passages and stays, under each of its endings.

The plate of a stay may be in no passage: it is the credential's where a camera misread it.

A part of a plate is the beginning of one of its endings, so a range of a B-tree finds it. A trigram index on
``passage`` would not: LIKE isn't leakproof, so row-level security keeps it from every index; and each passage would pay
for it, while a plate is new only once.

The trigger is there before the plates of stored passages are, so that none is missed. The revision can be repeated.
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

CREATE OR REPLACE FUNCTION passage_plates() RETURNS trigger LANGUAGE plpgsql AS $function$
BEGIN
    -- Nearly all plates are there: one look by key for each. In the order of the plates, so that two gateways of a
    -- community never wait for each other in a ring.
    INSERT INTO plate_part (community_id, part, plate)
        SELECT p.community_id, substr(p.plate, n), p.plate
        FROM (SELECT a.community_id, a.plate
              FROM (SELECT DISTINCT community_id, plate FROM after WHERE plate <> '' AND plate NOT LIKE '~%') a
              -- A look for each plate, before it is taken apart: a join would read all parts each time.
              WHERE (SELECT true FROM plate_part k
                     WHERE k.community_id = a.community_id AND k.part = a.plate AND k.plate = a.plate) IS NULL
              OFFSET 0) p,
            generate_series(1, length(p.plate)) n
        ORDER BY p.community_id, p.plate COLLATE "C", n
    ON CONFLICT DO NOTHING;
    RETURN NULL;
END $function$;
CREATE OR REPLACE TRIGGER plates AFTER INSERT ON passage
    REFERENCING NEW TABLE AS after FOR EACH STATEMENT EXECUTE FUNCTION passage_plates();
CREATE OR REPLACE TRIGGER plates AFTER INSERT ON movement
    REFERENCING NEW TABLE AS after FOR EACH STATEMENT EXECUTE FUNCTION passage_plates();
"""  # noqa: S608 - a constant
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
    # Alembic's transaction ends here, with its lock on passages, and another begins.
    run("COMMIT; BEGIN")
    run(STORED)


def downgrade() -> None:
    raise NotImplementedError("servers of this release cannot run without this table")
