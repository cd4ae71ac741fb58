"""Keep a gateway without a line for a week, in minutes, and compare what it did with the database in the end.

PostgreSQL, a server process, a gateway process, a relay and, where there is one, a Mosquitto, all on this machine. The
gateway takes its list from the server; then the line is cut. Cars come, half of them known, and sensors speak, each at
its moment of the week: the clock of the gateway's machine jumps ahead between them (``week_clock``). Meanwhile

* it is killed (kill -9) and starts again, once a day, and some times with a clock that is years behind;
* its disk is full for some hours, so that cameras get 503;
* more sensors speak than the spool may hold: their oldest states go, and no passage.

Each car must be decided at once by the list, and each known one's barrier gets one pulse. Then the line is there again:
the database must have every message that was answered, once, in the order of the posts, and a gap for what it hasn't.

    python week.py                  # prints its seed and what it measured
    python week.py --days 0.09 --plates 500 --states 4
"""

import argparse
import asyncio
import itertools
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import aiomqtt
import asyncpg
import httpx
from parkmesh.domain import access
from parkmesh.domain.access_index import AccessIndex
from parkmesh.gateway.drivers import camera_values
from parkmesh.gateway.sync import BATCH
from parkmesh.protocol.edge import AccessEntry
from parkmesh.simulator import camera
from processes import GatewaySite, Process, free_port
from week_clock import LOOK_S, Clock

BENCH = Path(__file__).parents[3] / "bench"
sys.path.insert(0, str(BENCH))

import ingestion  # noqa: E402
from _deployment import Database, postgres, server  # noqa: E402

DAY_MS = 86_400_000
PASSAGES_A_DAY = 1_600
SENSORS = 200
LETTERS = "BCDFGHJKLMNPRSTVWXYZ"
PATIENCE_S = 120.0
BEHIND_MS = 4 * 365 * DAY_MS
_PASSAGE_BYTES, _STATE_BYTES = 330, 85
"""Of a record in the spool: at most and about."""


class Line:
    """The way to the server; while it is cut nothing gets through, as with a modem without a network."""

    def __init__(self, to: tuple[str, int]) -> None:
        self._to, self.port = to, free_port()
        self._server: asyncio.Server | None = None
        self._ends: set[asyncio.StreamWriter] = set()

    async def open(self) -> None:
        self._server = await asyncio.start_server(self._carry, "127.0.0.1", self.port)

    async def cut(self) -> None:
        if self._server is not None:
            self._server.close()
            for end in list(self._ends):
                end.transport.abort()
            self._server = None

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            there, back = await asyncio.open_connection(*self._to)
            ends = {writer, back}
            self._ends |= ends
            await asyncio.wait(
                {asyncio.create_task(_copy(reader, back)), asyncio.create_task(_copy(there, writer))},
                return_when=asyncio.FIRST_COMPLETED,
            )
            for end in ends:
                end.close()
            self._ends -= ends


async def _copy(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
    with suppress(OSError):
        while data := await source.read(65_536):
            target.write(data)
            await target.drain()


class Disk:
    """A disk of its own for the spool, which outlives the gateway's processes: a mount of another process."""

    def __init__(self, folder: Path, size: str) -> None:
        folder.mkdir()
        script = f"mount -t tmpfs -o size={size} disk {folder} && echo mounted && exec sleep infinity"
        self._holder = subprocess.Popen(["unshare", "-rm", "sh", "-c", script], stdout=subprocess.PIPE, text=True)
        assert self._holder.stdout is not None
        if self._holder.stdout.readline().strip() != "mounted":
            raise SystemExit("no disk can be mounted here (unshare -rm)")
        self._filler = Path(f"/proc/{self._holder.pid}/root{folder}/filler")

    @property
    def entered(self) -> list[str]:
        """The command that runs another one with this disk."""
        return ["nsenter", "-t", str(self._holder.pid), "-U", "-m", "--preserve-credentials"]

    def fill(self) -> None:
        with suppress(OSError), self._filler.open("ab", buffering=0) as file:
            while True:
                file.write(bytes(4096))

    def free(self) -> None:
        self._filler.unlink()

    def end(self) -> None:
        self._holder.kill()
        self._holder.wait()


class Ledger:
    """What the world was told. ``posts`` are the ids of the cameras' messages with their gate, in order."""

    def __init__(self) -> None:
        self.posts: list[tuple[str, str]] = []
        self.answered: set[str] = set()
        self.known: set[str] = set()
        self.states = 0


class Week:
    def __init__(self, site: GatewaySite, clock: Clock, disk: Disk, plates: list[str], seed: int, broker: int) -> None:
        self._site, self._clock, self._disk, self._broker = site, clock, disk, broker
        self._chance, self._seed = random.Random(seed), seed
        self._plates, self._index = plates, AccessIndex([AccessEntry(plate, plate, "active") for plate in plates])
        self.ledger, self._wrong = Ledger(), 0
        self.posts_s = 0.0
        self._client = httpx.AsyncClient(trust_env=False, timeout=15)

    def start(self) -> None:
        site = self._site
        command = [*self._disk.entered, sys.executable, str(Path(__file__).with_name("week_clock.py"))]
        command += [str(site.config_path), str(site.folder / "clock")]
        site.gateway = Process(command, site.folder / "gateway.log")
        site.processes.append(site.gateway)

    async def status(self) -> dict[str, Any]:
        with suppress(httpx.HTTPError):
            document: dict[str, Any] = (await self._client.get(f"http://127.0.0.1:{self._site.port}/status")).json()
            return document
        return {}

    async def until(self, done: Callable[[dict[str, Any]], object], what: str, every_s: float = 0.02) -> dict[str, Any]:
        began = time.monotonic()
        while not done(status := await self.status()):
            if time.monotonic() - began > PATIENCE_S:
                raise SystemExit(f"seed {self._seed}: waited for {what}: {status}\n{self._said()}")
            await asyncio.sleep(every_s)
        return status

    def _said(self) -> str:
        return (self._site.folder / "gateway.log").read_text()[-3000:]

    def _pass_time(self, ms: int) -> None:
        self._clock.set(self._clock.shift + ms, self._wrong)

    async def pass_by(self, days: float, states: int) -> None:
        """Let the days pass with their cars, reboots and troubles, up to now; ``states`` come with each car."""
        count = int(days * PASSAGES_A_DAY)
        left_ms, chance = -self._clock.shift, self._chance
        reboots = {round(count * (day + chance.random()) / max(1, round(days))) for day in range(max(1, round(days)))}
        wrong = set(chance.sample(sorted(reboots), max(1, len(reboots) // 3)))
        full = range(int(count * 0.55), int(count * 0.55) + max(5, count // 60))
        # A log that has been longer before has room for some records more: one that begins anew hasn't.
        reboots = reboots - set(full) | {full.start}
        wrong &= reboots
        async with aiomqtt.Client("127.0.0.1", self._broker, max_queued_outgoing_messages=0) as sensors:
            for number in range(count):
                if number in reboots:
                    await self._reboot(wrong=number in wrong)
                if number in full:
                    self._disk.fill()  # also the room that the gateway had reserved
                if number == full.stop:
                    self._disk.free()
                    await self.until(lambda status: status.get("storing") == "disk", "the disk again")
                await self._speak(sensors, number, states)
                await self._car(number, stored=number not in full)
                mean = left_ms / (count - number)
                step = min(left_ms, int(chance.expovariate(1 / mean))) if number < count - 1 else left_ms
                left_ms = max(0, left_ms - step)
                self._pass_time(step)
        await self.until(lambda status: status.get("undecided") == 0, "an empty inbox")

    async def _reboot(self, *, wrong: bool) -> None:
        assert self._site.gateway is not None
        if wrong:
            await asyncio.sleep(3 * LOOK_S)  # the agent notes the time it trusts every ten minutes
        self._site.gateway.stop(signal.SIGKILL)
        self._wrong = -BEHIND_MS if wrong else 0
        self._pass_time(120_000)
        self.start()
        status = await self.until(lambda status: status.get("running"), "the gateway")
        if status["clock_doubtful"] != wrong:
            raise SystemExit(f"seed {self._seed}: clock_doubtful is {status['clock_doubtful']} after a reboot")

    async def _speak(self, sensors: aiomqtt.Client, number: int, states: int) -> None:
        for one in range(states):
            place = (number * states + one) % SENSORS
            message = {
                "deduplicationId": f"{self._seed:016x}{number:08x}{one:08x}",
                "time": datetime.now(UTC).isoformat(),
                "deviceInfo": {"devEui": f"{place:016x}"},
                "fPort": 1,
                "data": "AQ==" if self._chance.random() < 0.5 else "AA==",
            }
            await sensors.publish(f"application/1/device/{place:016x}/event/up", json.dumps(message), qos=1)
            self.ledger.states += 1

    async def _car(self, number: int, *, stored: bool) -> None:
        """Post a car; it must be decided at once, by the list, and with one pulse if it is known."""
        chance, gate = self._chance, ("in", "out")[number % 2]
        known = chance.random() < 0.5
        plate = chance.choice(self._plates) if known else self._stranger()
        shot = camera.shot(plate, datetime.fromtimestamp(self._clock.now() / 1000, UTC))
        body, kind = camera.multipart(shot)
        url = f"http://127.0.0.1:{self._site.port}/cameras/cam-{gate}/events"
        began = time.perf_counter()
        answer = await self._client.post(url, content=body, headers={"Content-Type": kind})
        self.posts_s += time.perf_counter() - began
        event = camera_values.event_id(shot.uuid, shot.picture_id)
        self.ledger.posts.append((event, gate))
        if known:
            self.ledger.known.add(event)
        if answer.status_code == 200:
            self.ledger.answered.add(event)
        elif stored or answer.status_code != 503:
            raise SystemExit(f"seed {self._seed}: car {number} was answered {answer.status_code}: {answer.text}")
        # The next jump of the clock would make this read an old one.
        await self.until(lambda status: status.get("undecided") == 0, "the decision", 0.002)

    def _stranger(self) -> str:
        while True:
            plate = f"{self._chance.randrange(10_000):04}{''.join(self._chance.choices(LETTERS, k=3))}"
            if access.decide(plate, self._index, self._clock.now()).credential_id is None:
                return plate


@contextmanager
def mosquitto(folder: Path) -> Iterator[int]:
    program = shutil.which("mosquitto", path=os.environ["PATH"] + ":/usr/sbin")
    if program is None:
        raise SystemExit("there is no mosquitto here")
    port = free_port()
    (folder / "mosquitto.conf").write_text(f"listener {port} 127.0.0.1\nallow_anonymous true\n")
    process = subprocess.Popen([program, "-c", str(folder / "mosquitto.conf")], stderr=subprocess.DEVNULL)
    try:
        yield port
    finally:
        process.terminate()
        process.wait(10)


@asynccontextmanager
async def connected(base: Database) -> AsyncIterator[Any]:
    connection = await asyncpg.connect(ingestion.superuser(base))
    try:
        yield connection
    finally:
        await connection.close()


async def _make(base: Database, plates: list[str]) -> None:
    await ingestion.seed(base, 1)
    async with connected(base) as db:
        await db.execute("DELETE FROM credential")
        await db.execute(
            "INSERT INTO credential (community_id, plate) SELECT (SELECT id FROM community), * FROM unnest($1::text[])",
            plates,
        )
        await db.execute(
            "INSERT INTO gate (community_id, name, title, direction) SELECT id, g, g, 'both' FROM community, "
            "unnest(ARRAY['in', 'out']) g"
        )
        await db.execute(
            "INSERT INTO community_rules (community_id, refusal_hold_s, exit_is_free) SELECT id, 0, false "
            "FROM community ON CONFLICT (community_id) DO UPDATE SET refusal_hold_s = 0, exit_is_free = false"
        )


def configure(site: GatewaySite, line: Line, broker: int, days: float, states: int) -> None:
    """Let the spool hold all passages of these days and a part of the states; what has a number doesn't count."""
    site.config |= {"name": "gateway", "community": "c1", "servers": [f"http://127.0.0.1:{line.port}"]}
    for gate in site.config["gates"]:
        gate["relay"] |= {"pulse_s": 0.01}
        gate["min_gap_s"] = 0
    site.config["mqtt"] = {"port": broker}
    site.config["sensors"] = [
        {"dev_eui": f"{n:016X}", "kind": "bosch_tps110", "space": f"s-{n}"} for n in range(SENSORS)
    ]
    cars = days * PASSAGES_A_DAY
    waiting = 1 - BATCH / (cars * (1 + states))
    site.config["spool_max_mb"] = waiting * cars * (_PASSAGE_BYTES + states * _STATE_BYTES * 0.3) / 2**20
    site.config_path.write_text(json.dumps(site.config))


async def judge(base: Database, week: Week) -> dict[str, object]:
    """Return what is wrong; print what there is."""
    async with connected(base) as db:
        rows = await db.fetch(
            "SELECT gate, device_event_id, decision, opened, reason, received_at FROM passage ORDER BY epoch, seq"
        )
        states = await db.fetchval("SELECT count(*) FROM observation")
        gaps = Counter[str]()
        for row in await db.fetch("SELECT kind, dropped FROM gap"):
            gaps[row["kind"]] += row["dropped"]
    ledger, answered = week.ledger, week.ledger.answered
    told = Counter(event for row in rows for event in (row["device_event_id"] or "").split("+"))
    # What was only in memory, with a full disk, may have come before what waited on the disk.
    stored = {
        gate: [event for event in (row["device_event_id"] for row in rows if row["gate"] == gate) if event in answered]
        for gate in ("in", "out")
    }
    posted = {gate: [event for event, at in ledger.posts if at == gate and event in answered] for gate in stored}
    late = sum(a["received_at"] > b["received_at"] for a, b in itertools.pairwise(rows))
    print(
        f"{len(ledger.posts):,} cars, {len(ledger.answered):,} answered with 200; {len(rows):,} passages, {states:,} "
        f"of {ledger.states:,} states, gaps {dict(gaps)}; reasons {dict(Counter(row['reason'] for row in rows))}; "
        f"{late} passages with an earlier time than the one before"
    )
    opened = {row["device_event_id"] for row in rows if row["opened"]}
    return {
        "answered and lost": [event for event in ledger.answered if not told[event]],
        "lost without a gap": [] if gaps.keys() - {"space_state"} else [e for e, _ in ledger.posts if not told[e]],
        "doubled": [event for event, times in told.items() if times > 1],
        "out of order": [gate for gate in stored if stored[gate] != posted[gate]],
        "known and not opened": [event for event in ledger.known if told[event] and event not in opened],
        "opened unknown": [event for event in opened if event not in ledger.known],
        "states": [] if states + gaps["space_state"] == ledger.states else [states, gaps["space_state"]],
        "no state was dropped": [] if gaps["space_state"] else ["none"],
        "the disk was never full": [] if len(ledger.answered) < len(ledger.posts) else ["never"],
    }


async def change_list(base: Database, week: Week, count: int) -> float:
    """Change credentials; return the seconds until the gateway decides by them."""
    async with connected(base) as db:
        began = time.perf_counter()
        await db.execute(
            "UPDATE credential SET valid_until = now() + interval '1 year' "
            "WHERE id IN (SELECT id FROM credential ORDER BY id LIMIT $1)",
            count,
        )
        newest = await db.fetchval("SELECT access_list_version FROM community")
    await week.until(lambda status: status.get("access_list_version", 0) >= newest, "the new list", 0.01)
    return time.perf_counter() - began


async def drill(
    folder: Path, base: Database, edge: tuple[str, int], days: float, plates: int, states: int, seed: int
) -> None:
    """Let the days pass and compare; end the program where they differ."""
    chance = random.Random(f"{seed}/plates")
    listed = sorted({f"{chance.randrange(10_000):04}{''.join(chance.choices(LETTERS, k=3))}" for _ in range(plates)})
    await _make(base, listed)
    line, clock = Line(edge), Clock(folder / "clock", new=True)
    clock.set(-int(days * DAY_MS), 0)
    with mosquitto(folder) as broker:
        site = GatewaySite(folder, [], ingestion.token(1))
        configure(site, line, broker, days, states)
        disk = Disk(folder / "spool", "64m")
        week = Week(site, clock, disk, listed, seed, broker)
        try:
            site.start_relay()
            await line.open()
            week.start()
            await week.until(lambda status: status.get("access_list_version"), "the list")
            await week.until(lambda status: status.get("mqtt"), "the broker")
            await line.cut()
            began = time.monotonic()
            await week.pass_by(days, states)
            print(
                f"{days:g} days in {time.monotonic() - began:.0f} s, "
                f"{week.posts_s / len(week.ledger.posts) * 1e3:.1f} ms for an answer on average"
            )
            pulses, held = site.pulses(), (await week.status())["backlog"]
            await line.open()
            await week.until(lambda status: status.get("backlog", held) < held, "the first batch", 0.005)
            began, left = time.perf_counter(), (await week.status())["backlog"]
            await week.until(lambda status: status.get("backlog") == 0, "an empty backlog", 0.02)
            took = time.perf_counter() - began
            print(f"{held:,} records waited; the last {left:,} drained at {left / max(took, 0.001):,.0f} records/s")
            await week.until(lambda status: status.get("stream"), "the stream")
            changed = min(1_000, plates // 2)
            print(f"{changed:,} of {len(listed):,} plates changed: {await change_list(base, week, changed):.2f} s")
            if (await week.status())["clock_doubtful"]:
                raise SystemExit("the clock is doubtful though a server has told the time")
        finally:
            site.stop()
            disk.end()
            await line.cut()
        wrong = {what: which for what, which in (await judge(base, week)).items() if which}
        if pulses != len(week.ledger.known):
            wrong["pulses"] = [pulses, len(week.ledger.known)]
    for what, which in wrong.items():
        raise SystemExit(f"seed {seed}: {what}: {len(which)}, {which[:10]}")  # type: ignore[arg-type,index]


def main() -> None:
    parser = argparse.ArgumentParser(description="A week without a line, with a real gateway, server and database.")
    parser.add_argument("--days", type=float, default=7)
    parser.add_argument("--plates", type=int, default=20_000)
    parser.add_argument("--states", type=int, default=1, help="messages of sensors with each car")
    parser.add_argument("--seed", type=int, default=random.randrange(2**32))
    options = parser.parse_args()
    print(f"seed {options.seed}", flush=True)
    with tempfile.TemporaryDirectory(prefix="parkmesh-week-") as folder, postgres() as base, server(base) as target:
        asyncio.run(drill(Path(folder), base, target.edge, options.days, options.plates, options.states, options.seed))


if __name__ == "__main__":
    main()
