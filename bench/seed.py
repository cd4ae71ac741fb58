"""Ten thousand communities of two hundred spaces: how long they take to seed, and how quick every page of the desk and
every read of its API is on them.

Every page, and every GET of the OpenAPI document, whose parameters are known here is asked as the operator's desk;
those that aren't for the desk (a resident's own, say) are named at the end.
"""

import argparse
import asyncio
import time
from datetime import UTC, datetime, timedelta

import _deployment as bench
import msgspec
from parkmesh.server.commands import sample
from parkmesh.server.db import database
from parkmesh.server.web import pages

FILLED_IN = {
    "community": f"{sample.SEED_PREFIX}00042", "gate": "main-in", "space": "p1-001", "plate": "0001BCD",
}  # fmt: skip
LISTED = {"unit": "units", "resident": "residents", "level": "levels"}
"""Parameters that are numbers which the database gave, and the lists that tell them."""
TOMORROW = datetime.now(UTC) + timedelta(days=1)
QUERIES = {
    "availability": f"from={TOMORROW:%FT%H}:00:00Z&until={TOMORROW + timedelta(hours=2):%FT%H}:00:00Z",
    "decision": "plate=0001BCD",
}
NOT_A_PAGE = "/stream"
LIMIT_MS = 200


async def reads_of(http: bench.Http) -> list[str]:
    """Return the addresses to ask: pages, and reads of the API, with known parameters only."""
    _, body = await http.request("GET", "/api/v1/openapi.json")
    paths = [path for path, methods in msgspec.json.decode(body)["paths"].items() if "get" in methods]
    paths += [route.path for route in pages.ROUTES if "GET" in (route.methods or ()) and NOT_A_PAGE not in route.path]
    known = dict(FILLED_IN)
    for parameter, listed in LISTED.items():
        _, body = await http.request("GET", f"/api/v1/communities/{known['community']}/{listed}?limit=1")
        known[parameter] = str(msgspec.json.decode(body)["items"][0]["id"])
    found = []
    for path in sorted(paths):
        try:
            address = path.format(**known)
        except KeyError:
            continue
        query = QUERIES.get(path.rpartition("/")[2])
        found.append(f"{address}?{query}" if query else address)
    return found


async def measure(options: argparse.Namespace, base: bench.Database, server: bench.Server) -> None:
    token = await bench.sign_in(base)
    headers = {"Cookie": f"parkmesh-session={token}", "Accept": "text/html"}
    api = {"Authorization": f"Bearer {token}", "Accept": "application/json"}
    async with bench.Http(server.web, **headers) as browser, bench.Http(server.web, **api) as interface:
        slow = 0
        others: list[str] = []
        for path in await reads_of(interface):
            http = interface if path.startswith("/api/") else browser
            # The first answer of a process also loads templates; the desk asks more than once.
            status, body = await http.request("GET", path)
            times, size = [], len(body)
            for _ in range(options.repeats):
                began = time.perf_counter()
                status, _ = await http.request("GET", path)
                times.append((time.perf_counter() - began) * 1000)
            if status != 200:
                others.append(f"{path} ({status})")
                continue
            p95 = bench.quantile(times, 0.95)
            slow += p95 > LIMIT_MS
            bench.report(f"{path} ({size / 1000:.0f} kB)"[:62], p95, "ms p95", LIMIT_MS)
        print(f"not for the desk: {', '.join(others)}")
    bench.report("reads above the limit", slow, "", 0)


async def seed(options: argparse.Namespace, base: bench.Database) -> None:
    connection = await database.connect(base.addresses.owner, "bench", 5)
    cpu_s = base.cpu_s()
    try:
        took = await sample.seed(connection, options.communities, spaces=options.spaces)
        limit = 300 * options.communities * options.spaces / 2_000_000
        name = f"{options.communities} communities of {options.spaces} spaces seeded within"
        bench.report(name, took.total_seconds(), "s", round(limit, 1))
        bench.report("PostgreSQL's CPU for it", base.cpu_s() - cpu_s, "s")
        await connection.execute("ANALYZE")
    finally:
        await connection.close()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--communities", type=int, default=10_000)
    parser.add_argument("--spaces", type=int, default=200)
    parser.add_argument("--repeats", type=int, default=40)
    options = parser.parse_args()
    with bench.postgres() as base:
        asyncio.run(seed(options, base))
        with bench.server(base) as server:
            bench.report("start to ready", server.ready_s, "s", 2)
            asyncio.run(measure(options, base, server))
            bench.report("server memory", server.rss_mb(), "MB", 250)
