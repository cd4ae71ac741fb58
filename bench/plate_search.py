"""Search a million passages by parts of plates, as the application's role below row-level security.

A PostgreSQL of its own (``_deployment``) holds passages of one community on 60 days, a partition each: regular cars,
and visitors that come once. Each part is searched as the page of passages does it.

Usage: python bench/plate_search.py [--passages 1000000] [--times 20]
"""

import argparse
import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import asyncpg
from _deployment import Database, postgres, report
from parkmesh.server.access import passages, plate_search
from parkmesh.server.db import database

DAYS, REGULAR, VISITORS = 60, 2_200, 40_000
LIMIT_MS = 100
PARTS = {
    "a whole plate": "0042BBB",
    "the beginning of one": "0042",
    "the end of one": "7BBB",
    "the middle of one": "42BB",
    "one visitor's plate, months ago": "V30007",
    "two letters that most have": "BB",
    "one digit": "7",
    "what no plate has": "QQQ",
}

# Every twentieth passage is a visitor's, whose plate comes once or twice in all the time.
FILL = f"""
INSERT INTO passage (community_id, gateway_id, epoch, seq, received_at, device_at, gate, direction, plate, decision,
                     reason, opened, access_list_version)
SELECT $1, $2, 1, n, at, at, 'main', CASE n % 2 WHEN 0 THEN 'entry' ELSE 'exit' END,
       CASE n % 20 WHEN 0 THEN 'V' || lpad((n / 20 % {VISITORS})::text, 5, '0')
       ELSE lpad((n * 7919 % {REGULAR})::text, 4, '0') || 'BBB' END,
       'granted', 'exact', true, 0
FROM generate_series($3::bigint, $4::bigint) n,
    LATERAL (SELECT now() - interval '{DAYS} days' * (1 - n::float8 / $5) AS at) t
"""  # noqa: S608 - constants of this module


@asynccontextmanager
async def superuser(base: Database) -> AsyncIterator[asyncpg.Connection]:
    connection = await asyncpg.connect(base.addresses.owner.replace("//parkmesh_owner@", "//postgres@"))
    try:
        yield connection
    finally:
        await connection.close()


async def fill(connection: asyncpg.Connection, count: int) -> int:
    """Make the partitions, the community and its passages; return the community's id."""
    await connection.execute("ALTER TABLE passage DETACH PARTITION passage_past; DROP TABLE passage_past")
    await connection.execute(
        f"SELECT make_partition('passage', current_date - n) FROM generate_series(0, {DAYS}) n"  # noqa: S608
    )
    community: int = await connection.fetchval(
        "INSERT INTO community (name, title, time_zone) VALUES ('a', 'A', 'Europe/Madrid') RETURNING id"
    )
    gateway = await connection.fetchval(
        "INSERT INTO gateway (community_id, name, token_sha256) VALUES ($1, 'gateway', sha256('')) RETURNING id",
        community,
    )
    step = 50_000
    for first in range(1, count + 1, step):
        await connection.execute(FILL, community, gateway, first, min(count, first + step - 1), float(count))
    async with connection.transaction():
        await plate_search.add(connection, community, {gateway: (1, count)})
    await connection.execute("VACUUM ANALYZE")
    return community


async def measure(options: argparse.Namespace, base: Database) -> None:
    async with superuser(base) as connection:
        community = await fill(connection, options.passages)
        rows = await connection.fetchval("SELECT count(*) FROM seen_plate")
        size = await connection.fetchval("SELECT pg_total_relation_size('seen_plate') / 1e6")
        print(f"{options.passages} passages; seen_plate has {rows} rows, {size:.1f} MB", flush=True)
        async with database.create_pool(base.addresses.app, "bench", 1) as pool:
            for what, part in PARTS.items():
                times = []
                for _ in range(options.times):
                    began = time.perf_counter()
                    async with database.in_community(pool, community, read_only=True) as application:
                        found = await passages.search(
                            application, community, limit=51, only=passages.Filter(plate=part)
                        )
                    times.append((time.perf_counter() - began) * 1000)
                report(f"{what} ({part}): {len(found)} shown, slowest", max(times), "ms", LIMIT_MS)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--passages", type=int, default=1_000_000)
    parser.add_argument("--times", type=int, default=20)
    options = parser.parse_args()
    with postgres() as base:
        asyncio.run(measure(options, base))


if __name__ == "__main__":
    main()
