"""Measure the edge API: events a second with every effect applied, and gateways that all come back at once.

A real server process and a PostgreSQL of its own (``_deployment``: on disk, synchronous commit and fsync on), both on
this machine, and the load beside them. Rows are counted after every run: each acknowledged event must be there once.

* steady: open loop. Batches are due at fixed moments, whatever the answers do, and the time to the acknowledgement
  counts from the moment when a batch was due, also where it had to be sent again.
* ceiling: a few gateways send their next batch as soon as the last one was acknowledged.
* storm: gateways come back within the given time, each with new connections, a heartbeat, a stream that stays open, the
  question for its access list and a backlog. A gateway that is told to come back later (503) does.

A quarter of the events are passages whose barrier opened (a row, presence), the rest states of spaces (a row, the
space's state). Some live pages are open meanwhile.

Usage: python bench/ingestion.py [--seconds 60] [--rate 15000] [--only steady,ceiling,storm]
"""
# ruff: noqa: S311 -- chance spreads the load; nothing here is a secret

import argparse
import asyncio
import hashlib
import random
import signal
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import asyncpg
import msgspec
from _deployment import Database, Server, flushes, open_pages, postgres, quantile, report, server, sign_in
from parkmesh.protocol import edge

GATEWAYS, SPACES, PLATES = 300, 200, 100
"""Gateways of the steady run, one to a community, and what each community has."""
STORM_GATEWAYS, STORM_BACKLOG, STORM_S = 10_000, 100, 60
BATCH = 200
LIVE_PAGES = 20
CONNECTIONS = 64
PROMISED_RATE = 15_000


def show(what: str, value: str) -> None:
    """Print one line of the table."""
    print(f"{what:<58} {value:>28}", flush=True)


def token(number: int) -> str:
    return f"token-of-gateway-{number:06d}"


def superuser(base: Database) -> str:
    """Return the address that sees all rows, to seed and to count them."""
    address: str = base.addresses.owner.replace("//parkmesh_owner@", "//postgres@")
    return address


async def seed(database: Database, gateways: int) -> None:
    """Make communities of one gateway each; the first ``GATEWAYS`` have all their spaces and plates."""
    connection = await asyncpg.connect(superuser(database))
    tokens = [hashlib.sha256(token(number).encode()).digest() for number in range(1, gateways + 1)]
    await connection.execute(
        "INSERT INTO community (name, title, time_zone) "
        "SELECT 'c' || n, 'Community ' || n, 'Europe/Madrid' FROM generate_series(1, $1) n ORDER BY n",
        gateways,
    )
    await connection.execute(
        "INSERT INTO gateway (community_id, name, token_sha256) "
        "SELECT c.id, 'gateway', t.token FROM unnest($1::bytea[]) WITH ORDINALITY t (token, n) "
        "JOIN community c ON c.name = 'c' || t.n",
        tokens,
    )
    await connection.execute(
        "INSERT INTO gate (community_id, name, title, direction) SELECT id, 'main', 'Main', 'both' FROM community"
    )
    await connection.execute(
        "INSERT INTO space (community_id, name, level) SELECT c.id, 's-' || n, 'P1' "
        "FROM community c, generate_series(0, $1 - 1) n WHERE n < 10 OR c.id <= $2",
        SPACES,
        GATEWAYS,
    )
    await connection.execute(
        "INSERT INTO credential (community_id, plate) SELECT c.id, 'P' || lpad(n::text, 6, '0') "
        "FROM community c, generate_series(0, $1 - 1) n WHERE c.id <= $2",
        PLATES,
        GATEWAYS,
    )
    await connection.execute("VACUUM ANALYZE")
    await connection.close()


@dataclass
class Link:
    """One HTTP/1.1 connection, one request at a time."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    async def ask(
        self, method: str, path: str, body: bytes = b"", headers: dict[str, str] | None = None
    ) -> tuple[int, dict[bytes, bytes], bytes]:
        """Return status, headers (names in lower case) and body."""
        lines = [f"{method} {path} HTTP/1.1", "Host: bench", f"Content-Length: {len(body)}"]
        lines += [f"{name}: {value}" for name, value in (headers or {}).items()]
        self.writer.write("\r\n".join([*lines, "", ""]).encode() + body)
        head = await self.reader.readuntil(b"\r\n\r\n")
        status, *rest = head.split(b"\r\n")[:-2]
        told = {name.lower(): value.strip() for name, _, value in (line.partition(b":") for line in rest)}
        content = await self.reader.readexactly(int(told.get(b"content-length", b"0")))
        return int(status.split()[1]), told, content


@asynccontextmanager
async def connected(address: tuple[str, int]) -> AsyncIterator[Link]:
    reader, writer = await asyncio.open_connection(*address)
    try:
        yield Link(reader, writer)
    finally:
        writer.close()


@dataclass
class Gateway:
    """What a gateway has sent: the ledger that the rows are compared with."""

    number: int
    epoch: int = 1
    seq: int = 0
    acked: int = 0
    passages: int = 0

    @property
    def headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {token(self.number)}", "Content-Type": "application/json"}

    def batch(self, size: int, spaces: int = SPACES) -> bytes:
        """Return the next ``size`` events as a body."""
        now = time.time_ns() // 1_000_000
        events: list[edge.Event] = []
        for seq in range(self.seq + 1, self.seq + size + 1):
            times = edge.Times(now)
            if seq % 4 == 0:
                direction: edge.Direction = "entry" if random.random() < 0.5 else "exit"
                plate = f"P{random.randrange(PLATES):06d}"
                events.append(edge.Passage(seq, times, "main", direction, plate, "granted", "exact", True, "1", 1))
                self.passages += 1
            else:
                state: edge.SpaceStatus = "free" if random.random() < 0.5 else "occupied"
                events.append(edge.SpaceState(seq, times, f"s-{random.randrange(spaces)}", state))
        self.seq += size
        return msgspec.json.encode(edge.EventBatch(self.epoch, events))


@dataclass
class Meter:
    """CPU seconds of the server and of PostgreSQL, from when it was made."""

    target: Server
    base: Database

    def __post_init__(self) -> None:
        self.began, self.before = time.perf_counter(), self._now()

    def _now(self) -> tuple[float, float]:
        return self.target.cpu_s(), self.base.cpu_s()

    def tell(self, events: int) -> None:
        seconds = time.perf_counter() - self.began
        for what, before, now in zip(("server", "PostgreSQL"), self.before, self._now(), strict=True):
            show(
                f"  CPU of {what}",
                f"{(now - before) / events * 1e6:.1f} µs/event, {(now - before) / seconds:.2f} cores",
            )


async def count_rows(database: Database, gateways: list[Gateway], what: str) -> None:
    """Compare the ledger with the database; end the program where they differ."""
    connection = await asyncpg.connect(superuser(database))
    try:
        passages = await connection.fetchval("SELECT count(*) FROM passage")
        doubled = await connection.fetchval(
            "SELECT count(*) FROM (SELECT FROM passage GROUP BY community_id, gateway_id, epoch, seq "
            "HAVING count(*) > 1) d"
        )
        marks = dict(
            await connection.fetch(
                "SELECT substr(c.name, 2)::int, g.acked FROM gateway g JOIN community c ON c.id = g.community_id"
            )
        )
        observations, presence, states = await connection.fetchrow(
            "SELECT (SELECT count(*) FROM observation), (SELECT count(*) FROM presence), "
            "(SELECT count(*) FROM space_state)"
        )
    finally:
        await connection.close()
    sent = sum(gateway.passages for gateway in gateways)
    wrong = [gateway.number for gateway in gateways if not gateway.seq == gateway.acked == marks[gateway.number]]
    observed = sum(gateway.seq for gateway in gateways) - sent
    show(f"  rows after {what}: passages, observations", f"{passages}, {observations}")
    show("  and the latest of them: presence, states", f"{presence}, {states}")
    if passages != sent or observations != observed or doubled or wrong:
        raise SystemExit(
            f"LOST OR DOUBLED: {sent} passages sent, {passages} there, {doubled} double, "
            f"{observed} observations sent, {observations} there, {len(wrong)} marks wrong"
        )
    show("  ledger", "nothing lost, nothing doubled")


async def told_to_wait(what: str, status: int, told: dict[bytes, bytes], content: bytes) -> None:
    """Wait as a 503 asks for; end the program at any other answer."""
    if status != 503 or b"retry-after" not in told:
        raise SystemExit(f"{what} was answered {status}: {content[:200]!r}")
    await asyncio.sleep(int(told[b"retry-after"]) + random.uniform(0, 1))


async def steady(target: Server, database: Database, gateways: list[Gateway], rate: int, seconds: float) -> None:
    """Offer ``rate`` events a second for ``seconds``."""
    idle: asyncio.Queue[Link] = asyncio.Queue()
    links = [Link(*await asyncio.open_connection(*target.edge)) for _ in range(CONNECTIONS)]
    for link in links:
        idle.put_nowait(link)
    paths = [f"/communities/c{number}/stream" for number in range(1, LIVE_PAGES + 1)]
    pages = await open_pages(target.web, paths, await sign_in(database))
    waits: list[float] = []
    answers: Counter[int] = Counter()
    locks = {gateway.number: asyncio.Lock() for gateway in gateways}

    async def send(gateway: Gateway, due: float) -> None:
        async with locks[gateway.number]:
            body = gateway.batch(BATCH)
            while True:
                link = await idle.get()
                status, told, content = await link.ask("POST", "/edge/v1/events", body, gateway.headers)
                idle.put_nowait(link)
                answers[status] += 1
                if status == 200:
                    break
                await told_to_wait("a batch", status, told, content)
            waits.append(time.perf_counter() - due)
        gateway.acked = msgspec.json.decode(content, type=edge.EventAck).acked

    meter = Meter(target, database)
    begin = time.perf_counter()
    count = int(rate * seconds / BATCH)
    with flushes(database) as disk:
        async with asyncio.TaskGroup() as group:
            for number in range(count):
                due = begin + number * BATCH / rate
                if (ahead := due - time.perf_counter()) > 0:
                    await asyncio.sleep(ahead)
                group.create_task(send(gateways[number % len(gateways)], due))
    took = time.perf_counter() - begin
    show(f"steady: offered {rate}/s in batches of {BATCH}, met", f"{count * BATCH / took:.0f} events/s")
    report("  acknowledged after, median", quantile(waits, 0.5) * 1000, "ms")
    report("  acknowledged after, p99", quantile(waits, 0.99) * 1000, "ms", 100 if rate >= PROMISED_RATE else None)
    report("  the disk's own flush beside it, p99", quantile(disk, 0.99) * 1000, "ms")
    show("  answers", ", ".join(f"{status}: {number}" for status, number in sorted(answers.items())))
    meter.tell(count * BATCH)
    show(f"  updates on {LIVE_PAGES} live pages", str(sum(page.updates for page in pages)))
    show("  memory of the server", f"{target.rss_mb():.0f} MB")
    for link in links:
        link.writer.close()
    await count_rows(database, gateways, "the steady run")


async def ceiling(target: Server, database: Database, gateways: list[Gateway], seconds: float) -> None:
    """Send as fast as acknowledgements come, on a few connections."""
    meter = Meter(target, database)
    begin = time.perf_counter()
    before = sum(gateway.acked for gateway in gateways)

    async def work(own: list[Gateway]) -> None:
        async with connected(target.edge) as link:
            while time.perf_counter() - begin < seconds:
                for gateway in own:
                    body = gateway.batch(500)
                    status, _, content = await link.ask("POST", "/edge/v1/events", body, gateway.headers)
                    if status != 200:
                        raise SystemExit(f"a batch was answered {status}: {content[:200]!r}")
                    gateway.acked = msgspec.json.decode(content, type=edge.EventAck).acked

    workers = 6
    await asyncio.gather(*(work(gateways[number::workers]) for number in range(workers)))
    took = time.perf_counter() - begin
    events = sum(gateway.acked for gateway in gateways) - before
    report("ceiling: batches of 500, the load beside it", events / took, "events/s", 30_000, at_least=True)
    meter.tell(events)
    await count_rows(database, gateways, "the ceiling")


async def storm(target: Server, database: Database, others: list[Gateway], count: int, seconds: float) -> None:
    """Let ``count`` gateways come back within ``seconds``."""
    gateways = [Gateway(number, epoch=2) for number in range(GATEWAYS + 1, GATEWAYS + count + 1)]
    answers: Counter[str] = Counter()
    waits: list[float] = []
    streams: list[Link] = []

    async def persist(gateway: Gateway, method: str, path: str, body: bytes = b"") -> bytes:
        """Ask until the answer is 200, as a gateway does: come back later when told to, and after a lost connection."""
        while True:
            try:
                async with connected(target.edge) as link:
                    status, told, content = await link.ask(method, path, body, gateway.headers)
            except (OSError, asyncio.IncompleteReadError) as error:
                answers[type(error).__name__] += 1
                await asyncio.sleep(random.uniform(0.5, 2))
                continue
            answers[str(status)] += 1
            if status == 200:
                return content
            await told_to_wait(path, status, told, content)

    async def listen(gateway: Gateway) -> None:
        """Open the gateway's stream, wait until it says something, and leave it open."""
        while True:
            link = Link(*await asyncio.open_connection(*target.edge))
            try:
                status, told, content = await link.ask("GET", "/edge/v1/stream?features=presence", b"", gateway.headers)
                if status == 200:
                    await link.reader.readuntil(b"event: access-list")
                    streams.append(link)
                    return
            except asyncio.IncompleteReadError:
                answers["stream broken off"] += 1
                continue
            link.writer.close()
            answers[str(status)] += 1
            await told_to_wait("a stream", status, told, content)

    async def come_back(gateway: Gateway, after: float) -> None:
        await asyncio.sleep(after)
        began = time.perf_counter()
        beat = edge.Heartbeat(time.time_ns() // 1_000_000, "bench", STORM_BACKLOG, 0)
        await persist(gateway, "POST", "/edge/v1/heartbeat", msgspec.json.encode(beat))
        await listen(gateway)
        await persist(gateway, "GET", "/edge/v1/access-list?version=1&epoch=0&features=rules")
        body = gateway.batch(STORM_BACKLOG, spaces=10)
        ack = msgspec.json.decode(await persist(gateway, "POST", "/edge/v1/events", body), type=edge.EventAck)
        gateway.acked = ack.acked
        waits.append(time.perf_counter() - began)

    meter = Meter(target, database)
    begin = time.perf_counter()
    async with asyncio.TaskGroup() as group:
        for gateway in gateways:
            group.create_task(come_back(gateway, random.uniform(0, seconds)))
    took = time.perf_counter() - begin
    show(f"storm: {count} gateways within {seconds:.0f} s, all done after", f"{took:.1f} s")
    report("  one gateway's time until all is acknowledged, median", quantile(waits, 0.5), "s")
    report("  one gateway's time until all is acknowledged, p99", quantile(waits, 0.99), "s")
    show("  answers", ", ".join(f"{what}: {number}" for what, number in sorted(answers.items())))
    meter.tell(count * STORM_BACKLOG)
    show("  streams that stayed open", str(sum(not link.reader.at_eof() for link in streams)))
    show("  memory of the server", f"{target.rss_mb():.0f} MB")
    await count_rows(database, [*others, *gateways], "the storm")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--rate", type=int, default=15_000)
    parser.add_argument("--only", default="steady,ceiling,storm")
    arguments = parser.parse_args()
    only = set(arguments.only.split(","))
    scale = min(1.0, arguments.seconds / STORM_S)
    count = max(100, int(STORM_GATEWAYS * scale)) if "storm" in only else 0
    # Ended from outside, it still ends what it started.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    with postgres() as database:
        began = time.perf_counter()
        asyncio.run(seed(database, GATEWAYS + count))
        show(f"seeded {GATEWAYS + count} communities", f"{time.perf_counter() - began:.1f} s")
        gateways = [Gateway(number) for number in range(1, GATEWAYS + 1)]
        with server(database) as target:
            show("start to ready", f"{target.ready_s:.2f} s")
            if "steady" in only:
                asyncio.run(steady(target, database, gateways, arguments.rate, arguments.seconds))
            if "ceiling" in only:
                asyncio.run(ceiling(target, database, gateways, min(arguments.seconds, 20)))
            if "storm" in only:
                asyncio.run(storm(target, database, gateways, count, arguments.seconds))


if __name__ == "__main__":
    main()
