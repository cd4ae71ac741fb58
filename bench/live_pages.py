"""What open live pages cost: 2,000 of them, spread over communities that change twice a second.

The same events flow in first without and then with the pages; the difference is what the pages cost. Only the server's
own CPU counts as their cost; that of PostgreSQL and of the client, which is on the same machine, stand beside it.
"""

import argparse
import asyncio
import time

import _deployment as bench
from parkmesh.server.commands import sample
from parkmesh.server.db import database


async def change(server: bench.Server, communities: int, per_s: float, seconds: float, first: int) -> int:
    """Let each community's gateway report the change of one space ``per_s`` times a second; return the next seq."""
    rounds = int(per_s * seconds)

    async def gateway(n: int) -> None:
        async with bench.Http(server.edge, Authorization=f"Bearer {sample.seed_token(n)}") as http:
            began = time.monotonic()
            for turn in range(rounds):
                # Spread over the period: communities don't change in step.
                await asyncio.sleep(max(0, began + (turn + n / communities) / per_s - time.monotonic()))
                seq = first + turn
                event = {
                    "type": "space_state", "seq": seq, "times": {"received": int(time.time() * 1000)},
                    "space": "p1-001", "status": "free" if seq % 2 else "occupied",
                }  # fmt: skip
                status, body = await http.request(
                    "POST", "/edge/v1/events", bench.as_json({"epoch": 2, "events": [event]})
                )
                if status != 200:
                    raise SystemExit(f"an event was answered with {status}: {body[:200]!r}")

    await asyncio.gather(*(gateway(n) for n in range(1, communities + 1)))
    return first + rounds


async def main(options: argparse.Namespace, base: bench.Database, server: bench.Server) -> None:
    connection = await database.connect(base.addresses.app, "bench", 5)
    await sample.seed(connection, options.communities, spaces=200, units=5)
    await connection.close()
    token = await bench.sign_in(base)
    seq = await change(server, options.communities, 2, 2, 1)

    async def cost(pages: list[bench.Page]) -> tuple[float, float, float]:
        nonlocal seq
        before, updates = (server.cpu_s(), base.cpu_s(), time.process_time()), sum(page.updates for page in pages)
        began = time.monotonic()
        seq = await change(server, options.communities, options.updates, options.seconds, seq)
        took = time.monotonic() - began
        after = (server.cpu_s(), base.cpu_s(), time.process_time())
        if pages:
            got = (sum(page.updates for page in pages) - updates) / len(pages) / took
            bench.report("updates per page", got, "/s", options.updates * 0.9, at_least=True)
        server_s, postgres_s, client_s = ((b - a) / took for a, b in zip(before, after, strict=True))
        return server_s, postgres_s, client_s

    without = await cost([])
    paths = [f"/communities/{sample.SEED_PREFIX}{n % options.communities + 1:05}/stream" for n in range(options.pages)]
    began = time.monotonic()
    pages = await bench.open_pages(server.web, paths, token)
    bench.report(f"{options.pages} pages opened within", time.monotonic() - began, "s")
    await asyncio.sleep(2)
    with_pages = await cost(pages)
    bench.report("server without pages", without[0], "cores")
    bench.report("server with pages", with_pages[0], "cores")
    bench.report("cost of the pages", with_pages[0] - without[0], "cores", 0.3)
    bench.report("PostgreSQL with pages, and without", with_pages[1], f"cores ({without[1]:.2f})")
    bench.report("client with pages, and without (not counted)", with_pages[2], f"cores ({without[2]:.2f})")
    bench.report("server memory", server.rss_mb(), "MB", 250)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pages", type=int, default=2000)
    parser.add_argument("--communities", type=int, default=20)
    parser.add_argument("--updates", type=float, default=2, help="per second and page")
    parser.add_argument("--seconds", type=float, default=20)
    options = parser.parse_args()
    print(f"{options.pages} live pages over {options.communities} communities of 200 spaces")
    with bench.postgres() as base, bench.server(base) as server:
        bench.report("start to ready", server.ready_s, "s", 2)
        asyncio.run(main(options, base, server))
