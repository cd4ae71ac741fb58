"""Interactive reads while events flow in and live pages are open: 99 of 100 within 50 ms, on one server process.

Gateways of many communities report 5,000 events a second (half passages, half changes of spaces, in batches), 2,000
live pages follow them, and a few people read pages and the API all the while. The events and the pages are driven by a
process of their own, so that its work doesn't count as the server's answer time. At the end the rows are counted:
every event that was acknowledged is there.
"""

import argparse
import asyncio
import multiprocessing
import random
import time
from collections.abc import Callable
from multiprocessing.synchronize import Event as Signal

import _deployment as bench
from parkmesh.server.commands import sample
from parkmesh.server.db import database

READS = (
    "/communities/{community}",
    "/api/v1/communities/{community}/spaces",
    "/api/v1/communities/{community}/passages",
    "/api/v1/communities/{community}/gateways",
    "/api/v1/sessions/current",
)
READERS = 4
THINK_S = 0.1
"""Mean seconds between an answer and the reader's next request, by chance: people don't click in step."""


def community(n: int) -> str:
    return f"{sample.SEED_PREFIX}{n:05}"


async def gateway(
    edge: tuple[str, int], n: int, options: argparse.Namespace, stop: Callable[[], bool]
) -> tuple[int, int, list[float]]:
    """Post batches in step with the clock until ``stop``; return passages and events sent and the answer times (s)."""
    period = options.batch * options.communities / options.events
    passages = sent = 0
    times = []
    async with bench.Http(edge, Authorization=f"Bearer {sample.seed_token(n)}") as http:
        due = time.monotonic() + period * n / options.communities
        while not stop():
            await asyncio.sleep(max(0, due - time.monotonic()))
            due += period
            now = {"received": int(time.time() * 1000)}
            events: list[dict[str, object]] = []
            for seq in range(sent + 1, sent + options.batch + 1):
                if seq % 2:
                    events.append(
                        {
                            "type": "passage", "seq": seq, "times": now, "gate": "main-in", "direction": "entry",
                            "plate": f"{seq % 10000:04}BCD", "decision": "granted", "reason": "exact", "opened": True,
                        }
                    )  # fmt: skip
                else:
                    status = "free" if seq // 400 % 2 else "occupied"
                    name = f"p1-{seq // 2 % 200 + 1:03}"
                    events.append({"type": "space_state", "seq": seq, "times": now, "space": name, "status": status})
            began = time.perf_counter()
            status_code, body = await http.request(
                "POST", "/edge/v1/events", bench.as_json({"epoch": 2, "events": events})
            )
            times.append(time.perf_counter() - began)
            if status_code != 200:
                raise SystemExit(f"events were answered with {status_code}: {body[:200]!r}")
            sent += options.batch
            passages += sum(event["type"] == "passage" for event in events)
    return passages, sent, times


def load(
    server: bench.Server, token: str, options: argparse.Namespace, running: Signal, stop: Signal, results: object
) -> None:
    """Drive gateways and pages, in a process of its own."""

    async def drive() -> None:
        paths = [f"/communities/{community(n % options.communities + 1)}/stream" for n in range(options.pages)]
        pages = await bench.open_pages(server.web, paths, token)
        running.set()
        began = time.monotonic()
        done = await asyncio.gather(
            *(gateway(server.edge, n, options, stop.is_set) for n in range(1, options.communities + 1))
        )
        took = time.monotonic() - began
        results.put(  # type: ignore[attr-defined]
            {
                "took": took,
                "passages": sum(item[0] for item in done),
                "sent": sum(item[1] for item in done),
                "acks": [value for item in done for value in item[2]],
                "updates": sum(page.updates for page in pages),
                "open": sum(page.status == 200 for page in pages),
                "cpu": time.process_time(),
            }
        )

    bench.allow_many_connections()
    asyncio.run(drive())


async def read(server: bench.Server, token: str, options: argparse.Namespace, ends: float) -> list[float]:
    """Read pages and the API one after the other; return the answer times (ms)."""
    times = []
    headers = {"Cookie": f"parkmesh-session={token}", "Accept": "text/html, application/json"}
    async with bench.Http(server.web, **headers) as http:
        turn = 0
        while time.monotonic() < ends:
            path = READS[turn % len(READS)].format(community=community(turn * 7 % options.communities + 1))
            turn += 1
            began = time.perf_counter()
            status, _ = await http.request("GET", path)
            times.append((time.perf_counter() - began) * 1000)
            if status != 200:
                raise SystemExit(f"{path} was answered with {status}")
            await asyncio.sleep(random.uniform(0, 2 * THINK_S))  # noqa: S311 - chance spreads the load
    return times


def main(options: argparse.Namespace, base: bench.Database, server: bench.Server) -> None:
    async def prepare() -> str:
        connection = await database.connect(base.addresses.app, "bench", 5)
        await sample.seed(connection, options.communities, spaces=200)
        await connection.close()
        return await bench.sign_in(base)

    async def read_all(ends: float) -> list[float]:
        return [value for values in await asyncio.gather(
            *(read(server, token, options, ends) for _ in range(READERS))) for value in values]  # fmt: skip

    async def count() -> int:
        connection = await database.connect(base.addresses.app, "bench", 5)
        try:
            total = 0
            for n in range(1, options.communities + 1):
                async with database.provisioning(connection):
                    identity = await connection.fetchval("SELECT id FROM community WHERE name = $1", community(n))
                    await database.set_community(connection, identity)
                    total += await connection.fetchval("SELECT count(*) FROM passage WHERE epoch = 2")
            return total
        finally:
            await connection.close()

    token: str = asyncio.run(prepare())
    spawn = multiprocessing.get_context("spawn")
    running, stop, results = spawn.Event(), spawn.Event(), spawn.Queue()
    driver = spawn.Process(target=load, args=(server, token, options, running, stop, results))
    driver.start()
    while not running.wait(1):
        if not driver.is_alive():
            raise SystemExit("the load could not be started")
    # What the first events, snapshots and connections take is over.
    asyncio.run(read_all(time.monotonic() + options.warm_up))
    before = server.cpu_s(), base.cpu_s()
    began = time.monotonic()
    times = asyncio.run(read_all(began + options.seconds))
    took = time.monotonic() - began
    cpu = server.cpu_s() - before[0], base.cpu_s() - before[1]
    memory = server.rss_mb()
    stop.set()
    done = results.get(timeout=60)
    driver.join(30)
    stored = asyncio.run(count())
    bench.report("events", done["sent"] / done["took"], "/s", options.events * 0.98, at_least=True)
    bench.report("live pages still open", done["open"], "", options.pages, at_least=True)
    bench.report("updates per page", done["updates"] / max(1, options.pages) / done["took"], "/s")
    bench.report(f"interactive reads, p50 of {len(times)}", bench.quantile(times, 0.5), "ms")
    bench.report("interactive reads, p99", bench.quantile(times, 0.99), "ms", 50)
    bench.report("acknowledge of a batch, p99", bench.quantile(done["acks"], 0.99) * 1000, "ms")
    bench.report("server", cpu[0] / took, "cores")
    bench.report("PostgreSQL", cpu[1] / took, "cores")
    bench.report("load client (not counted)", done["cpu"] / (done["took"] or 1), "cores")
    bench.report("server memory", memory, "MB", 250)
    bench.report("acknowledged passages that are missing", done["passages"] - stored, "", 0)
    if done["passages"] != stored:
        raise SystemExit(f"{done['passages']} passages were acknowledged, {stored} are stored")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--events", type=float, default=5000, help="per second")
    parser.add_argument("--batch", type=int, default=100)
    parser.add_argument("--communities", type=int, default=50)
    parser.add_argument("--pages", type=int, default=2000)
    parser.add_argument("--seconds", type=float, default=30)
    parser.add_argument("--warm-up", type=float, default=5)
    options = parser.parse_args()
    print(f"{options.events:g} events/s, {options.pages} live pages over {options.communities} communities")
    with bench.postgres() as base, bench.server(base) as server:
        bench.report("start to ready", server.ready_s, "s", 2)
        main(options, base, server)
