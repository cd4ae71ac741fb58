"""Kill a real gateway again and again while cameras post, and compare what they were told with a server's database.

PostgreSQL, a server process, a gateway process and a relay, all on this machine. Two cameras post different cars, half
of which the access list knows, and post again what wasn't answered, as cameras do, or forget it. The gateway is killed
(kill -9) at moments chosen by a seed, also while it starts, and started again. In the end every message that was
answered 200 must be one row, none may be two, none may come from nowhere, and no gap may tell of a loss.

    python kills.py --kills 1000
"""

import argparse
import asyncio
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import asyncpg
import httpx
from parkmesh.domain import passages
from parkmesh.simulator import camera, drive
from processes import GatewaySite

BENCH = Path(__file__).parents[3] / "bench"
sys.path.insert(0, str(BENCH))

import ingestion  # noqa: E402
from _deployment import Database, postgres, server  # noqa: E402

LISTED = 2_000
LETTERS = "BCDFGHJKLMNPRSTVWXYZ"
SIMILAR_WITHIN = 400
"""So many plates in a row have nothing of each other: similar ones within a minute would be one car."""
PATIENCE_S = 60.0


class Plates:
    """Plates that are each used once; every second one is in the list."""

    def __init__(self, chance: random.Random) -> None:
        self._chance, self._recent = chance, list[str]()
        self.listed = [self._plate() for _ in range(LISTED)]
        self._unused = list(self.listed)
        self._turn = threading.Lock()

    def _plate(self) -> str:
        return f"{self._chance.randrange(10_000):04d}{''.join(self._chance.choices(LETTERS, k=3))}"

    def next(self) -> str:
        with self._turn:
            while True:
                known = self._unused and self._chance.random() < 0.5
                plate = self._unused.pop() if known else self._plate()
                if not any(passages.similar(plate, other) for other in self._recent[-SIMILAR_WITHIN:]):
                    self._recent.append(plate)
                    return plate


class Camera(threading.Thread):
    """Posts one car after another; ``answered`` and ``sent`` are the ledger."""

    def __init__(self, url: str, plates: Plates, chance: random.Random) -> None:
        super().__init__(daemon=True)
        self._url, self._plates, self._chance = url, plates, chance
        self.sent: list[str] = []
        self.answered: list[str] = []
        self.again = 0
        self.ended = threading.Event()

    def run(self) -> None:
        with httpx.Client(trust_env=False, timeout=5) as client:
            while not self.ended.is_set():
                self._send(client, self._plates.next())
                self.ended.wait(self._chance.expovariate(1 / 0.03))

    def _send(self, client: httpx.Client, plate: str) -> None:
        body, kind = camera.multipart(camera.shot(plate, drive.now()))
        self.sent.append(plate)
        forgets = self._chance.random() < 0.2
        while True:
            try:
                status = client.post(self._url, content=body, headers={"Content-Type": kind}).status_code
            except httpx.HTTPError:
                status = 0
            if status == 200:
                self.answered.append(plate)
                return
            if forgets or self.ended.is_set():
                return
            self.again += 1
            time.sleep(0.1)


class Zygote:
    """Starts gateways of one configuration (``zygote``) and kills them."""

    def __init__(self, config: Path, log: Path) -> None:
        self._config, self.pid = config, 0
        with log.open("ab") as output:
            self._process = subprocess.Popen(
                [sys.executable, str(Path(__file__).with_name("zygote.py"))],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=output, text=True,
            )  # fmt: skip

    def start(self) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(f"{self._config}\n")
        self._process.stdin.flush()
        self.pid = int(self._process.stdout.readline())

    def alive(self) -> bool:
        return Path(f"/proc/{self.pid}").exists()

    def kill(self, number: signal.Signals = signal.SIGKILL) -> None:
        if self.alive():
            os.kill(self.pid, number)
        _wait(lambda: not self.alive(), "the gateway's end")

    def end(self) -> None:
        self.kill()
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(10)


def _wait(condition: Callable[[], object], what: str) -> None:
    until = time.monotonic() + PATIENCE_S
    while not condition():
        if time.monotonic() > until:
            raise SystemExit(f"waited {PATIENCE_S:.0f} s for {what}")
        time.sleep(0.01)


async def _seed(base: Database, plates: list[str]) -> None:
    await ingestion.seed(base, 1)
    connection = await asyncpg.connect(ingestion.superuser(base))
    try:
        await connection.execute("DELETE FROM credential")
        await connection.execute(
            "INSERT INTO credential (community_id, plate) SELECT (SELECT id FROM community), * FROM unnest($1::text[])",
            sorted(set(plates)),
        )
        await connection.execute(
            "INSERT INTO community_rules (community_id, refusal_hold_s) SELECT id, 1 FROM community "
            "ON CONFLICT (community_id) DO UPDATE SET refusal_hold_s = 1"
        )
    finally:
        await connection.close()


async def _stored(base: Database) -> tuple[Counter[str], Counter[str], int]:
    """Return the plates of the passages, the gaps' kinds, and how many barriers opened."""
    connection = await asyncpg.connect(ingestion.superuser(base))
    try:
        rows = await connection.fetch("SELECT plate, opened FROM passage")
        gaps = await connection.fetch("SELECT kind FROM gap")
    finally:
        await connection.close()
    return (
        Counter(row["plate"] for row in rows),
        Counter(row["kind"] for row in gaps),
        sum(bool(row["opened"]) for row in rows),
    )


def drill(folder: Path, kills: int, seed: int) -> None:
    """Kill and compare; end the program where they differ."""
    chance = random.Random(seed)
    plates = Plates(random.Random(f"{seed}/plates"))
    with postgres() as base:
        asyncio.run(_seed(base, plates.listed))
        with server(base) as target:
            site = GatewaySite(folder, [f"http://127.0.0.1:{target.edge[1]}"], ingestion.token(1))
            site.config |= {"name": "gateway", "community": "c1"}
            gate: dict[str, Any] = site.config["gates"][0] | {"name": "main"}
            gate["relay"] |= {"pulse_s": 0.1}
            site.config["gates"] = [gate]
            for one in site.config["cameras"]:
                one["gate"] = "main"
            site.config_path.write_text(json.dumps(site.config))
            site.start_relay()
            gateway = Zygote(site.config_path, folder / "gateway.log")
            url = f"http://127.0.0.1:{site.port}/cameras/%s/events"
            cameras = [Camera(url % name, plates, random.Random(f"{seed}/{name}")) for name in ("cam-in", "cam-out")]
            try:
                _run(site, gateway, cameras, kills, chance)
                pulses = site.pulses()
            finally:
                gateway.end()
                site.stop_relay()
        told, gaps, opened = asyncio.run(_stored(base))
    sent, answered = {p for one in cameras for p in one.sent}, [p for one in cameras for p in one.answered]
    print(
        f"{kills:,} kills: {len(answered):,} messages answered of {len(sent):,}, {sum(one.again for one in cameras):,} "
        f"posted again; {told.total():,} rows, {opened:,} barriers opened, {pulses:,} pulses"
    )
    wrong = {
        "answered and lost": [plate for plate in answered if not told[plate]],
        "doubled": [plate for plate, rows in told.items() if rows > 1],
        "from nowhere": [plate for plate in told if plate not in sent],
        "gaps": list(gaps),
    }
    for what, which in wrong.items():
        if which:
            raise SystemExit(f"seed {seed}: {what}: {len(which)}, {which[:10]}")
    if pulses < opened:
        raise SystemExit(f"seed {seed}: {opened} passages say that a barrier opened, and {pulses} pulses came")


def _run(site: GatewaySite, gateway: Zygote, cameras: list[Camera], kills: int, chance: random.Random) -> None:
    def answers() -> bool:
        return site._answers(site.port, "/healthz")

    gateway.start()
    _wait(answers, "the gateway")
    _wait(lambda: site.status()["access_list_version"], "the access list")
    for one in cameras:
        one.start()
    for number in range(kills):
        if chance.random() < 0.1:
            time.sleep(chance.random() * 0.1)  # while it starts
        else:
            _wait(answers, "the gateway")
            time.sleep(chance.random() * 0.5)
        gateway.kill()
        gateway.start()
        if (number + 1) % 100 == 0:
            print(f"{number + 1} kills, {sum(len(one.answered) for one in cameras)} messages answered", flush=True)
    _wait(answers, "the gateway")
    for one in cameras:
        one.ended.set()
    for one in cameras:
        one.join()

    def drained() -> bool:
        status = site.status()
        return not status["backlog"] and not status["undecided"]

    _wait(drained, "an empty backlog")


def main() -> None:
    parser = argparse.ArgumentParser(description="Kill a gateway while cameras post; compare them with the database.")
    parser.add_argument("--kills", type=int, default=1_000)
    parser.add_argument("--seed", type=int, default=random.randrange(2**32))
    options = parser.parse_args()
    print(f"seed {options.seed}", flush=True)
    with tempfile.TemporaryDirectory(prefix="parkmesh-kills-") as folder:
        drill(Path(folder), options.kills, options.seed)


if __name__ == "__main__":
    main()
