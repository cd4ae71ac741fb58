"""Measure a peer on comparable work in the same run: states of parking spaces that many communities send.

No parking server comes as a package: ParkAPI v3, the open one with a realtime push, is built from its repository. The
peer is Kinto, a store of objects for many tenants behind HTTP: rights of each tenant, batches of changes in one
transaction, PostgreSQL. It is installed from packages into a venv under a temporary folder and runs on the same
PostgreSQL, in a database of its own.

Both get the same updates: batches of 200 on six connections, the next one when the last one was acknowledged, every
batch one transaction, acknowledged after a commit that is on disk, one server process each. First the peer, for the
given time, then ours, for a quarter of it, in which it gets many times the updates. Afterwards the rows of both are
compared with what was sent.

Usage: python bench/peer.py [--seconds 20]
"""
# ruff: noqa: S311 -- chance chooses spaces; nothing here is a secret

import argparse
import asyncio
import base64
import contextlib
import os
import random
import secrets
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import cycle, takewhile
from pathlib import Path

import asyncpg
import msgspec
from _deployment import Database, Server, free_port, postgres, report, server
from ingestion import BATCH, Link, Meter, connected, seed, show, superuser, token
from parkmesh.protocol import edge
from parkmesh.server.commands import embedded

PINS = """
attrs==26.1.0 bcrypt==5.0.0 certifi==2026.10.18 cffi==2.1.1 charset-normalizer==3.5.2 colander==2.0 colorama==0.4.6
cryptography==50.0.2 dockerflow==2026.3.4 hupper==1.12.1 idna==3.20 iso8601==2.1.0 jsonpatch==1.47 jsonpointer==3.12
jsonschema==4.26.0 jsonschema-specifications==2025.9.1 kinto==26.5.0 legacy-cgi==2.6.4 logging-color-formatter==1.1.0
packaging==26.3 PasteDeploy==3.1.0 plaster==1.1.2 plaster-pastedeploy==1.0.1 psycopg2-binary==2.9.13 pycparser==3.12
PyJWT==2.15.1 pyramid==2.1 pyramid_multiauth==1.1.0 pyramid_tm==2.6 python-dateutil==4.0.0 python-rapidjson==1.25
referencing==0.37.0 requests==2.34.2 rpds-py==2026.9.1 setuptools==81.0.0 SQLAlchemy==2.1.9 transaction==5.1
translationstring==1.4 typing_extensions==4.16.0 tzdata==2026.6 urllib3==2.8.0 venusian==3.1.1 waitress==3.0.2
WebOb==1.8.11 zope.deprecation==6.0 zope.interface==8.7 zope.sqlalchemy==4.1
"""
COMMUNITIES, SPACES, CONNECTIONS = 12, 200, 6
STATES: tuple[edge.SpaceStatus, ...] = ("free", "occupied")
DIFFERENCES = """
What the peer does not do: know events again that come twice, refuse gaps, put late events in order, row-level security,
tell live pages, remember since when a state holds. What ours does not do: any object and query, a version of every
change, rights on each object. Kinto's batches are 25 by default; here they are as large as ours.
"""


@dataclass
class Community:
    """What was sent of a community: the ledger that the rows are compared with."""

    number: int
    seq: int = 0
    states: dict[str, edge.SpaceStatus] = field(default_factory=dict)

    def updates(self) -> list[tuple[str, edge.SpaceStatus]]:
        """Return the next batch; the first one has all spaces, so that later ones change what is there."""
        spaces = random.choices(range(SPACES), k=BATCH) if self.states else range(SPACES)
        batch = [(f"s-{space}", random.choice(STATES)) for space in spaces]
        self.states.update(batch)
        self.seq += len(batch)
        return batch


Send = Callable[[Link, Community], Awaitable[None]]


async def to_peer(link: Link, community: Community) -> None:
    """Send a batch to Kinto; end the program where any update of it was refused."""
    now = time.time_ns() // 1_000_000
    requests = [
        {
            "path": f"/buckets/c{community.number}/collections/spaces/records/{space}",
            "body": {"data": {"state": state, "at": now}},
        }
        for space, state in community.updates()
    ]
    body = {"defaults": {"method": "PUT"}, "requests": requests}
    content = await ask_peer(link, community, "POST", "/v1/batch", body)
    refused = [answer for answer in msgspec.json.decode(content)["responses"] if answer["status"] not in (200, 201)]
    if refused:
        raise SystemExit(f"the peer refused {len(refused)} updates: {refused[0]}")


async def ask_peer(link: Link, community: Community, method: str, path: str, body: object) -> bytes:
    credentials = base64.b64encode(f"gateway-{community.number}:{token(community.number)}".encode()).decode()
    headers = {"Authorization": f"Basic {credentials}", "Content-Type": "application/json"}
    status, _, content = await link.ask(method, path, msgspec.json.encode(body), headers)
    if status not in (200, 201):
        raise SystemExit(f"{method} {path} was answered {status} by the peer: {content[:200]!r}")
    return content


async def to_ours(link: Link, community: Community) -> None:
    """Send a batch to the edge API; end the program where not all of it was acknowledged."""
    times = edge.Times(time.time_ns() // 1_000_000)
    first = community.seq + 1
    states = [
        edge.SpaceState(seq, times, space, state) for seq, (space, state) in enumerate(community.updates(), first)
    ]
    headers = {"Authorization": f"Bearer {token(community.number)}", "Content-Type": "application/json"}
    status, _, content = await link.ask(
        "POST", "/edge/v1/events", msgspec.json.encode(edge.EventBatch(1, list(states))), headers
    )
    if status != 200 or msgspec.json.decode(content, type=edge.EventAck).acked != community.seq:
        raise SystemExit(f"a batch was answered {status}: {content[:200]!r}")


async def drive(
    address: tuple[str, int], communities: list[Community], send: Send, more: Callable[[Community], bool]
) -> tuple[int, float]:
    """Send batches of the communities in turn while there are ``more``; return how many updates, and the seconds."""
    sent = 0

    async def work(own: list[Community]) -> None:
        nonlocal sent
        async with connected(address) as link:
            for community in takewhile(more, cycle(own)):
                await send(link, community)
                sent += BATCH

    began = time.perf_counter()
    await asyncio.gather(*(work(communities[number::CONNECTIONS]) for number in range(CONNECTIONS)))
    return sent, time.perf_counter() - began


@dataclass(frozen=True)
class Measured:
    """``cpu_us``: microseconds of server and PostgreSQL for an update."""

    communities: list[Community]
    updates: int
    pace: float
    cpu_us: float


def measure(
    name: str, target: Server, address: tuple[str, int], base: Database, send: Send, seconds: float
) -> Measured:
    """Give every space a state, then measure for ``seconds``."""
    communities = [Community(number) for number in range(1, COMMUNITIES + 1)]
    asyncio.run(drive(address, communities, send, lambda community: not community.states))
    meter, before = Meter(target, base), target.cpu_s() + base.cpu_s()
    end = time.monotonic() + seconds
    updates, took = asyncio.run(drive(address, communities, send, lambda _: time.monotonic() < end))
    report(f"{name}: {updates} updates of spaces", updates / took, "updates/s")
    meter.tell(updates)
    show("  memory of the server", f"{target.rss_mb():.0f} MB")
    cpu_us = (target.cpu_s() + base.cpu_s() - before) / updates * 1e6
    return Measured(communities, updates, updates / took, cpu_us)


async def compare(address: str, query: str, communities: list[Community], whose: str) -> None:
    """Compare the last states with the ledger; ``query`` gives community, space and state."""
    connection = await asyncpg.connect(address)
    try:
        rows = {(row[0], row[1]): row[2] for row in await connection.fetch(query)}
    finally:
        await connection.close()
    sent = {(f"c{item.number}", space): state for item in communities for space, state in item.states.items()}
    if rows != sent:
        wrong = sum(rows.get(place) != state for place, state in sent.items())
        raise SystemExit(f"{whose}: {wrong} of {len(sent)} spaces are not in the state that was sent last")
    show(f"  rows of {whose}", f"{len(rows)} spaces, each as sent last")


def install(folder: Path) -> str | None:
    """Make the peer's venv; return why it can't be, or None."""
    for command in (
        [sys.executable, "-m", "venv", str(folder)],
        [str(folder / "bin/pip"), "install", "--quiet", "--disable-pip-version-check", *PINS.split()],
    ):
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=600)
        if done.returncode:
            return (done.stderr.strip().splitlines() or ["no reason given"])[-1]
    return None


async def make_database(base: Database) -> str:
    """Make the peer's database; return its address."""
    connection = await asyncpg.connect(superuser(base))
    await connection.execute(f"CREATE DATABASE kinto OWNER {embedded.OWNER}")
    await connection.close()
    return base.addresses.owner.replace(f"/{embedded.DATABASE}?", "/kinto?")


@contextmanager
def kinto(folder: Path, database: str) -> Iterator[Server]:
    """Run the peer as a process of its own and wait until it answers."""
    address = ("127.0.0.1", free_port())
    settings = folder / "kinto.ini"
    # The file's own syntax takes a single % for itself.
    url = database.replace("%", "%%")
    settings.write_text(
        f"""
[server:main]
use = egg:waitress#main
host = {address[0]}
port = {address[1]}

[app:main]
use = egg:kinto
kinto.storage_backend = kinto.core.storage.postgresql
kinto.storage_url = {url}
kinto.permission_backend = kinto.core.permission.postgresql
kinto.permission_url = {url}
kinto.cache_backend = kinto.core.cache.memory
kinto.userid_hmac_secret = {secrets.token_hex(16)}
kinto.bucket_create_principals = system.Authenticated
kinto.batch_max_requests = {BATCH}
multiauth.policies = basicauth

[loggers]
keys = root
[handlers]
keys = console
[formatters]
keys = plain
[logger_root]
level = WARNING
handlers = console
[handler_console]
class = StreamHandler
args = (sys.stderr,)
formatter = plain
[formatter_plain]
format = %(message)s
"""
    )
    program = str(folder / "venv/bin/kinto")
    environment = {"PATH": os.defpath, "HOME": str(folder)}
    with (folder / "log").open("w+") as log:

        def failed(what: str) -> SystemExit:
            log.seek(0)
            return SystemExit(f"the peer did not {what}:\n{log.read()[-2000:]}")

        migrated = subprocess.run(
            [program, "migrate", "--ini", str(settings)], env=environment, stdout=log, stderr=log, check=False
        )
        if migrated.returncode:
            raise failed("make its tables")
        began = time.monotonic()
        process = subprocess.Popen(
            [program, "start", "--ini", str(settings), "--port", str(address[1])],
            env=environment, stdout=log, stderr=log,
        )  # fmt: skip
        try:
            while not asyncio.run(_answers(address)):
                if process.poll() is not None or time.monotonic() - began > 60:
                    raise failed("become ready")
                time.sleep(0.1)
            yield Server(process.pid, address, address, time.monotonic() - began)
        finally:
            process.terminate()
            process.wait(30)


async def _answers(address: tuple[str, int]) -> bool:
    with contextlib.suppress(OSError, asyncio.IncompleteReadError):
        async with connected(address) as link:
            return (await link.ask("GET", "/v1/__heartbeat__"))[0] == 200
    return False


async def make_tenants(address: tuple[str, int]) -> None:
    async with connected(address) as link:
        for number in range(1, COMMUNITIES + 1):
            for path in (f"/v1/buckets/c{number}", f"/v1/buckets/c{number}/collections/spaces"):
                await ask_peer(link, Community(number), "PUT", path, {})


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--seconds", type=float, default=20)
    seconds = parser.parse_args().seconds
    with tempfile.TemporaryDirectory(prefix="parkmesh-peer-") as name:
        folder = Path(name)
        if reason := install(folder / "venv"):
            print(f"no ratio: the peer can't be installed here: {reason}")
            return
        with postgres() as base:
            database = asyncio.run(make_database(base))
            with kinto(folder, database) as peer:
                asyncio.run(make_tenants(peer.web))
                theirs = measure("Kinto", peer, peer.web, base, to_peer, seconds)
            query = (
                "SELECT split_part(parent_id, '/', 3), id, data ->> 'state' FROM objects "
                "WHERE resource_name = 'record' AND NOT deleted"
            )
            asyncio.run(
                compare(database.replace(f"//{embedded.OWNER}@", "//postgres@"), query, theirs.communities, "Kinto")
            )
            asyncio.run(seed(base, COMMUNITIES))
            with server(base) as target:
                ours = measure("parkmesh", target, target.edge, base, to_ours, seconds / 4)
            query = (
                "SELECT c.name, s.name, t.status FROM space_state t JOIN community c ON c.id = t.community_id "
                "JOIN space s ON s.community_id = t.community_id AND s.id = t.space_id"
            )
            asyncio.run(compare(superuser(base), query, ours.communities, "parkmesh"))
            report("parkmesh to Kinto: updates a second", ours.pace / theirs.pace, "times as many")
            report("parkmesh to Kinto: CPU for an update", theirs.cpu_us / ours.cpu_us, "times less")
            print(DIFFERENCES.strip())


if __name__ == "__main__":
    main()
