"""Measure a gateway: its backlog's way to one server, its list's changes, a car's way to its barrier, what it costs.

The gateway is its own process with all that it does in service: its spool on this machine's disk with every flush, a
real server process with PostgreSQL, a relay and cameras over HTTP on loopback, sensors by a real Mosquitto where there
is one. Its list has 20,000 plates, and half of the cars' plates are misread.

* drain: the agent starts with a week's records and no cars come.
* list: 1,000 of the credentials change in one transaction; until the gateway decides by them.
* cars: 20 posts a second at 16 gates and 200 messages of sensors a second, while a week's records drain. From the
  moment when a post is sent to the moment when the relay has the command. The agent is kept to one core, and that is
  shared with nothing of the bench's where the machine has two.
* rest: the memory after all that, and the processor's time while nothing comes.

Usage: python bench/gateway.py [--seconds 20] [--records 100000] [--only drain,list,cars,rest] [--spool FOLDER]
"""
# ruff: noqa: S311 -- chance chooses plates; nothing here is a secret

import argparse
import asyncio
import contextlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import aiomqtt
import asyncpg
import httpx
from _deployment import Database, Server, cpu_s, free_port, postgres, quantile, report, server
from ingestion import seed, superuser, token
from parkmesh.domain import access
from parkmesh.domain.access_index import AccessIndex
from parkmesh.gateway.spool import Spool
from parkmesh.protocol.edge import AccessEntry, Passage, SpaceState, Times
from parkmesh.simulator import camera

PLATES, GATES, SENSORS = 20_000, 16, 200
POSTS_A_SECOND, SENSOR_MESSAGES_A_SECOND = 20, 200
CHANGED = 1_000
LETTERS = "BCDFGHJKLMNPRSTVWXYZ"
MISREAD = {"0": "D", "1": "I", "2": "Z", "5": "S", "8": "B", "6": "G", "D": "0", "S": "5", "B": "8", "Z": "2"}
PATIENCE_S = 120.0


class Relays:
    """A relay with a switch for each gate: notes when each command comes, by the switch, and confirms it."""

    def __init__(self) -> None:
        self.came: dict[int, float] = {}
        self.port = 0

    async def __aenter__(self) -> "Relays":
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                now = time.perf_counter()
                length = int(head.lower().partition(b"content-length:")[2].split(b"\r\n")[0])
                frame = json.loads(await reader.readexactly(length))
                self.came[frame["params"]["id"]] = now
                body = b'{"id":1,"result":{"was_on":false}}'
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body))


class Site:
    """A gateway process with its configuration, spool and log in ``folder``."""

    def __init__(self, folder: Path, target: Server, relays: Relays, broker_port: int | None) -> None:
        self.folder, self.port = folder, free_port()
        self.spool = folder / "spool/spool.db"
        (folder / "token").write_text(token(1))
        config: dict[str, Any] = {
            "name": "gateway",
            "community": "c1",
            "spool": str(self.spool),
            "token_file": str(folder / "token"),
            "servers": [f"http://{target.edge[0]}:{target.edge[1]}"],
            "listen": {"host": "127.0.0.1", "port": self.port},
            "cameras": [{"name": f"cam-{n}", "gate": f"g{n}", "direction": "entry"} for n in range(GATES)],
            "gates": [
                {
                    "name": f"g{n}",
                    "relay": {"url": f"http://127.0.0.1:{relays.port}", "switch": n, "pulse_s": 0.1},
                    "min_gap_s": 0,
                }
                for n in range(GATES)
            ],
        }
        if broker_port is not None:
            config["mqtt"] = {"port": broker_port}
            config["sensors"] = [
                {"dev_eui": f"{n:016X}", "kind": "bosch_tps110", "space": f"s-{n}"} for n in range(SENSORS)
            ]
        (folder / "gateway.json").write_text(json.dumps(config))
        self.pid = 0
        self._client = httpx.AsyncClient(trust_env=False, timeout=10)

    def fill(self, records: int) -> None:
        """Put records into the spool that no server has, as many as a week or more without a line makes: passages and
        states of spaces in the proportion of a community of 200 spaces and 1,600 passages a day."""
        spool = Spool(self.spool, now=_millis())
        spool._db.execute("PRAGMA synchronous = OFF")
        began = _millis() - 7 * 86_400_000
        for number in range(records):
            times = Times(began + number)
            if number % 3:
                plate = f"{number % 10_000:04}XYZ"
                spool.append(Passage(1, times, f"g{number % GATES}", "entry", plate, "denied", "unknown_plate"))
            else:
                spool.append(SpaceState(1, times, f"s-{number % SENSORS}", "free" if number % 2 else "occupied"))
        spool.close()

    def start(self) -> None:
        with (self.folder / "gateway.log").open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "parkmesh", "gateway", "run", "--config", str(self.folder / "gateway.json")],
                stdout=log, stderr=log,
            )  # fmt: skip
        self.pid = self._process.pid
        cores = sorted(os.sched_getaffinity(0))
        os.sched_setaffinity(self.pid, cores[:1])
        for pid in [0, *_everything_else(self.pid)] if len(cores) > 1 else []:
            with contextlib.suppress(ProcessLookupError):
                os.sched_setaffinity(pid, cores[1:])

    def stop(self) -> None:
        if self.pid:
            self._process.send_signal(signal.SIGTERM)
            self._process.wait(30)

    async def status(self) -> dict[str, Any]:
        with contextlib.suppress(httpx.HTTPError):
            document: dict[str, Any] = (await self._client.get(f"http://127.0.0.1:{self.port}/status")).json()
            return document
        return {}

    async def until(self, done: Callable[[dict[str, Any]], bool], what: str, every_s: float = 0.05) -> None:
        began = time.monotonic()
        while not done(status := await self.status()):
            if time.monotonic() - began > PATIENCE_S or self._process.poll() is not None:
                raise SystemExit(f"waited for {what}: {status}\n{(self.folder / 'gateway.log').read_text()[-2000:]}")
            await asyncio.sleep(every_s)

    def rss_mb(self) -> float:
        for line in Path(f"/proc/{self.pid}/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) / 1024
        return 0.0


def _everything_else(gateway: int) -> list[int]:
    """Return this process's descendants without the gateway."""
    found, parents = [], {os.getpid()}
    for folder in sorted((one for one in Path("/proc").iterdir() if one.name.isdigit()), key=lambda one: int(one.name)):
        with contextlib.suppress(OSError):
            if int((folder / "stat").read_text().rpartition(")")[2].split()[1]) in parents:
                parents.add(int(folder.name))
                found.append(int(folder.name))
    return [pid for pid in found if pid != gateway]


def _millis() -> int:
    return time.time_ns() // 1_000_000


def _read(plate: str, chance: random.Random) -> str:
    places = [place for place, sign in enumerate(plate) if sign in MISREAD]
    if not places:
        return plate
    place = chance.choice(places)
    return plate[:place] + MISREAD[plate[place]] + plate[place + 1 :]


def cars(plates: list[str], count: int, chance: random.Random) -> list[tuple[str, bool]]:
    """Return reads that open, of different cars, and whether each is a misread: every second one, where one fits."""
    index, reads = AccessIndex([AccessEntry(plate, plate, "active") for plate in plates]), []
    for number, plate in enumerate(chance.sample(plates, count)):
        read = _read(plate, chance) if number % 2 else plate
        if access.decide(read, index, _millis()).credential_id != plate:
            read = plate
        reads.append((read, read != plate))
    return reads


@contextmanager
def mosquitto(folder: Path) -> Iterator[int | None]:
    """Run a broker; None where there is none on this machine."""
    program = shutil.which("mosquitto", path=os.environ["PATH"] + ":/usr/sbin")
    if program is None:
        yield None
        return
    port = free_port()
    (folder / "mosquitto.conf").write_text(f"listener {port} 127.0.0.1\nallow_anonymous true\n")
    process = subprocess.Popen([program, "-c", str(folder / "mosquitto.conf")], stderr=subprocess.DEVNULL)
    try:
        yield port
    finally:
        process.terminate()
        process.wait(10)


async def make_community(base: Database) -> list[str]:
    """Make the community; return its plates."""
    await seed(base, 1)
    chance = random.Random(1)
    plates = sorted({f"{chance.randrange(10_000):04}{''.join(chance.choices(LETTERS, k=3))}" for _ in range(PLATES)})
    connection = await asyncpg.connect(superuser(base))
    await connection.execute("DELETE FROM credential")
    await connection.execute(
        "INSERT INTO credential (community_id, plate) SELECT (SELECT id FROM community), * FROM unnest($1::text[])",
        plates,
    )
    await connection.execute(
        "INSERT INTO gate (community_id, name, title, direction) "
        "SELECT c.id, 'g' || n, 'Gate ' || n, 'both' FROM community c, generate_series(0, $1 - 1) n",
        GATES,
    )
    await connection.close()
    return plates


async def drain(site: Site, records: int, what: str) -> None:
    """Measure from the first acknowledgement that is seen to the last."""
    await site.until(lambda status: 0 < status.get("backlog", 0) < records, "the first batch", 0.01)
    began, left = time.perf_counter(), (await site.status())["backlog"]
    await site.until(lambda status: status.get("backlog") == 0, "an empty backlog", 0.1)
    report(
        f"drain{what}: {left} records to one server",
        left / (time.perf_counter() - began),
        "records/s",
        5_000,
        at_least=True,
    )


async def change_list(site: Site, base: Database) -> None:
    before = (await site.status())["access_list_version"]
    connection = await asyncpg.connect(superuser(base))
    try:
        began = time.perf_counter()
        await connection.execute(
            "UPDATE credential SET valid_until = now() + interval '1 year' "
            "WHERE id IN (SELECT id FROM credential ORDER BY id LIMIT $1)",
            CHANGED,
        )
        changed = time.perf_counter()
        newest = await connection.fetchval("SELECT access_list_version FROM community")
    finally:
        await connection.close()
    await site.until(lambda status: status.get("access_list_version", 0) >= newest > before, "the new list", 0.01)
    report(f"list: {CHANGED} of {PLATES} plates changed, decided by at the gate", time.perf_counter() - changed, "s", 1)
    report("  the transaction itself", changed - began, "s")


class Sensors:
    """Messages of all sensors in turn, at a steady rate, until it is ended."""

    def __init__(self, port: int) -> None:
        self._port, self.sent = port, 0

    async def run(self) -> None:
        async with aiomqtt.Client("127.0.0.1", self._port, max_queued_outgoing_messages=0) as client:
            began = time.perf_counter()
            while True:
                await asyncio.sleep(max(0.0, began + self.sent / SENSOR_MESSAGES_A_SECOND - time.perf_counter()))
                number = self.sent % SENSORS
                message = {
                    "deduplicationId": f"{self.sent:032x}",
                    "time": datetime.now(UTC).isoformat(),
                    "deviceInfo": {"devEui": f"{number:016x}"},
                    "fPort": 1,
                    "data": "AQ==" if self.sent // SENSORS % 2 else "AA==",
                }
                topic = f"application/1/device/{number:016x}/event/up"
                await client.publish(topic, json.dumps(message), qos=1)
                self.sent += 1


async def drive(site: Site, relays: Relays, reads: list[tuple[str, bool]]) -> list[float]:
    """Post each read at its moment; return the seconds to each barrier's command, in their order."""
    took: list[float] = []
    limits = httpx.Limits(max_connections=GATES, max_keepalive_connections=GATES)
    async with httpx.AsyncClient(trust_env=False, timeout=15, limits=limits) as client:

        async def one(number: int, read: str, due: float) -> None:
            body, kind = camera.multipart(camera.shot(read, datetime.now(UTC)))
            url = f"http://127.0.0.1:{site.port}/cameras/cam-{number % GATES}/events"
            await asyncio.sleep(max(0.0, due - time.perf_counter()))
            gate, sent = number % GATES, time.perf_counter()
            relays.came.pop(gate, None)
            answer = await client.post(url, content=body, headers={"Content-Type": kind})
            if answer.status_code != 200:
                raise SystemExit(f"a post was answered {answer.status_code}: {answer.text}")
            while gate not in relays.came:
                if time.perf_counter() - sent > 10:
                    raise SystemExit(
                        f"{read} at g{gate} opened nothing\n{(site.folder / 'gateway.log').read_text()[-2000:]}"
                    )
                await asyncio.sleep(0.002)
            took.append(relays.came[gate] - sent)

        began = time.perf_counter() + 0.1
        async with asyncio.TaskGroup() as posts:
            for number, (read, _) in enumerate(reads):
                posts.create_task(one(number, read, began + number / POSTS_A_SECOND))
    return took


def tell(took: list[float], misread: int, what: str) -> None:
    report(f"cars: post to relay command, {what}, p50", quantile(took, 0.5) * 1e3, "ms")
    report(f"  p99 of {len(took)} cars, {misread} of them misread", quantile(took, 0.99) * 1e3, "ms", 20)
    report("  the latest", max(took) * 1e3, "ms")


async def with_cars(
    site: Site, relays: Relays, plates: list[str], broker: int | None, seconds: float, records: int
) -> None:
    reads = cars(plates, int(seconds * 2 * POSTS_A_SECOND), random.Random(2))
    half = len(reads) // 2
    before = cpu_s(site.pid)
    tell(await drive(site, relays, reads[:half]), sum(bad for _, bad in reads[:half]), "nothing else to do")
    report("  processor of the gateway", (cpu_s(site.pid) - before) / half * 1e3, "ms/car")
    site.stop()
    site.fill(records)
    site.start()
    await site.until(lambda status: status.get("access_list_version", 0) > 0, "the gateway")
    sensors = Sensors(broker) if broker is not None else None
    sending = asyncio.create_task(sensors.run()) if sensors is not None else None
    draining = asyncio.create_task(drain(site, records, " beside cars and sensors"))
    began = time.perf_counter()
    took = await drive(site, relays, reads[half:])
    elapsed = time.perf_counter() - began
    tell(took, sum(bad for _, bad in reads[half:]), f"{records} records draining")
    if sensors is not None and sending is not None:
        sent = sensors.sent
        sending.cancel()
        report(
            "  messages of sensors meanwhile",
            sent / elapsed,
            "messages/s",
            SENSOR_MESSAGES_A_SECOND * 0.99,
            at_least=True,
        )
    await draining


async def rest(site: Site, seconds: float) -> None:
    report("rest: the most memory that the gateway had", site.rss_mb(), "MB", 80)
    await asyncio.sleep(5)
    before = cpu_s(site.pid)
    await asyncio.sleep(seconds)
    report(f"  processor while nothing comes, {seconds:.0f} s", (cpu_s(site.pid) - before) / seconds * 100, "%", 0.5)


async def measure(base: Database, target: Server, folder: Path, options: argparse.Namespace) -> None:
    plates = await make_community(base)
    with mosquitto(folder) as broker:
        async with Relays() as relays:
            site = Site(folder, target, relays, broker)
            try:
                if "drain" in options.only:
                    site.fill(options.records)
                site.start()
                if "drain" in options.only:
                    await drain(site, options.records, "")
                await site.until(lambda status: status.get("access_list_version", 0) > 0, "the access list")
                await site.until(lambda status: bool(status.get("stream")), "the stream")
                if "list" in options.only:
                    await change_list(site, base)
                if "cars" in options.only:
                    await with_cars(site, relays, plates, broker, options.seconds, options.records)
                if "rest" in options.only:
                    await rest(site, options.seconds)
            finally:
                site.stop()


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--seconds", type=float, default=20)
    parser.add_argument("--records", type=int, default=100_000)
    parser.add_argument("--only", default="drain,list,cars,rest", type=lambda text: text.split(","))
    parser.add_argument("--spool", help="the spool's folder; /dev/shm leaves out the disk's time")
    options = parser.parse_args()
    with (
        tempfile.TemporaryDirectory(prefix="parkmesh-gateway-", dir=options.spool) as name,
        postgres() as base,
        server(base) as target,
    ):
        asyncio.run(measure(base, target, Path(name), options))


if __name__ == "__main__":
    main()
