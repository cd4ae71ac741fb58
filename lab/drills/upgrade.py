"""Upgrade a lab of the release before to this one, as docs/upgrading.md tells, under load: what was lost of it.

The release before builds the lab by its own playbooks from its own inventory; the lab itself, which stands for AWS and
hosts, is today's. In come a resident with a plate, a booking and a visitor's pass, and their cars. Gateway b is cut off
from the servers, decides by itself, and gets its line back as soon as the database has this release's tables: it is
then a gateway of the release before, with a backlog, at servers of both. Then today's site.yml runs with the release's
inventory (or another, where the notes of the upgrade ask for changes), while people read and write and cars come. At
the end all records must be there and the same, no request refused, each car that a gateway answered one passage, the
gates must open for the same cars, servers and gateways must be of this release, a second run must change nothing and
check-drift find nothing.

    python -m lab.drills.upgrade --from v0.1.0 --seed 7     # as root; makes a lab of its own, and removes it
"""

import argparse
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from types import FrameType
from typing import Any

from lab.commands import down, up
from lab.drills import checkout
from lab.drills.checkout import Checkout, must
from lab.drills.load import Load, Person, load, reader
from lab.drills.standing import StandingLab, until
from lab.machine import ports, state
from lab.machine.errors import LabError
from lab.machine.names import ROOT, Lab
from lab.machine.progress import say

BEFORE_THE_FIRST_RELEASE = "decd64fdc9f56d06583244e911a2a4f6cc622a4a"
"""What is upgraded while the project has no tag: tables of revision 0031, no counters, no keys of visitors' codes that
can be renewed, gateways that fetch no release, the egress' former default. It is an ancestor of this file's commit."""

LOGS = ROOT / "test-results/upgrade"
GATEWAYS = ("gateway-a", "gateway-b")
LISTS = ("units", "residents", "credentials", "bookings", "visitor-passes", "passages")
PLATE, VISITOR, NEIGHBOUR = "2468XYZ", "1357KLM", "9876MNP"
"""Of the resident and the visitor whom the drill makes in community a, and of b's resident in the lab's inventory."""
OFFLINE_CARS = 6
CARS_PER_MINUTE = 12
WAIT_S = 30
"""How long a person waits for an answer. An upgrade must refuse nobody; how fast a busy machine answers isn't tried."""


class Upgrade(StandingLab):
    """A lab that is upgraded."""

    def drive(self, site: str, plate: str, expected: str) -> bool:
        """Let a car come to a community's first camera; whether its barrier does what is expected."""
        # A pulse waits until the one before has ended, and for its gate's min_gap_s: two cars may come in a row.
        wait_s = 10 if expected == "opened" else 2
        words = f"parkmesh simulate car {plate} --site /etc/parkmesh/site.json --expect {expected} --wait {wait_s}"
        command = [self.podman.program, "exec", self.lab.thing(f"devices-{site}"), *words.split()]
        return subprocess.run(command, env=self.podman.environment, capture_output=True, check=False).returncode == 0

    def passed(self, plate: str, times: int) -> bool:
        """Whether the database has so many passages of a plate."""
        return self.passages()[plate] == times

    def items(self, path: str) -> list[dict[str, Any]]:
        """All items of one of the application's lists."""
        found: list[dict[str, Any]] = []
        cursor = ""
        while True:
            page = self.ask("GET", f"{path}?limit=200{cursor}", within_s=30)
            found += page["items"]
            if not page["next"]:
                return found
            cursor = f"&cursor={page['next']}"

    def records(self) -> dict[str, list[dict[str, Any]]]:
        """What people read of both communities."""
        paths = [f"/api/v1/communities/{community}/{each}" for community in "ab" for each in LISTS]
        return {path: self.items(path) for path in paths}

    def releases(self) -> dict[str, str]:
        """Gateway → the release that runs on it."""
        return {each: self.podman.shell(self.lab.thing(each), "readlink /opt/parkmesh/current") for each in GATEWAYS}

    def images(self) -> dict[str, str]:
        """App server → its image."""
        return {each["id"]: each["image"] for each in self.instances("app")}

    def cut(self, gateway: str) -> None:
        """Let no packet of a gateway reach the servers' edge API; people of ops still reach the gateway."""
        self.podman.shell(
            self.lab.thing(gateway),
            "nft 'add table inet drill'\n"
            "nft 'add chain inet drill out { type filter hook output priority 0; policy accept; }'\n"
            "nft 'add rule inet drill out tcp dport 8001 drop'\n",
        )

    def mend(self, gateway: str) -> None:
        # The release's own firewall may have flushed it.
        self.podman.shell(self.lab.thing(gateway), "nft delete table inet drill 2> /dev/null || true")


@dataclass
class Made:
    """What the drill put in under the release before."""

    records: dict[str, list[dict[str, Any]]]
    visit: str
    """Path of the visitor's link in the API."""
    chain: dict[str, Any]
    """The audit trail's verification."""
    images: dict[str, str]
    releases: dict[str, str]


@dataclass
class Writes:
    """The ledger of what people wrote while the upgrade ran: names of units in community a."""

    answered: list[str] = field(default_factory=list)
    tried: int = 0

    def person(self, drill: Upgrade, pause_s: float) -> Person:
        def write() -> None:
            self.tried += 1
            name = f"drill {self.tried}"
            drill.ask("POST", "/api/v1/communities/a/units", {"name": name}, within_s=WAIT_S)
            self.answered.append(name)

        return Person(write, pause_s)


def fill(drill: Upgrade) -> Made:
    """Put records in as people do, and let cars pass that they admit."""
    drill.sign_in()
    community = "/api/v1/communities/a"
    unit = drill.ask("POST", f"{community}/units", {"name": "9Z"})["id"]
    resident = drill.ask(
        "POST", f"{community}/residents", {"email": "nora@a.example", "name": "Nora Vidal", "unit_id": unit}
    )["id"]
    drill.ask("POST", f"{community}/vehicles", {"plate": PLATE, "label": "Green car", "resident_id": resident})
    drill.ask("POST", f"{community}/bookings", {"space": "a-03", "unit_id": unit, **_in(hours=24)})
    issued = drill.ask(
        "POST", f"{community}/visitor-passes", {"plate": VISITOR, "name": "Ida", "unit_id": unit, **_in(hours=0)}
    )
    for plate in (PLATE, VISITOR):
        until(partial(drill.drive, "a", plate, "opened"), f"a gate that opens for {plate}")
    until(partial(drill.told, "gateway-a"), "an empty backlog of gateway-a")
    visit = f"/api/v1/visits/{issued['link'].rpartition('/')[2]}"
    drill.ask("GET", visit)
    chain = drill.ask("GET", f"{community}/audit/verification", within_s=30)
    return Made(drill.records(), visit, chain, drill.images(), drill.releases())


def _in(hours: int) -> dict[str, str]:
    """A window of four hours that begins in some hours."""
    start = datetime.now(UTC).replace(microsecond=0) + timedelta(hours=hours)
    return {"from": start.isoformat(), "until": (start + timedelta(hours=4)).isoformat()}


def offline_cars(drill: Upgrade, source: random.Random) -> list[str]:
    """Cut gateway b off and let cars come that it decides by itself; their plates."""
    drill.cut("gateway-b")
    if not drill.drive("b", NEIGHBOUR, "opened"):
        raise SystemExit(f"gateway-b without a line opened no gate for {NEIGHBOUR}")
    strangers = [f"{number:04d}DRL" for number in source.sample(range(10_000), OFFLINE_CARS - 1)]
    for plate in strangers:
        if not drill.drive("b", plate, "closed"):
            raise SystemExit(f"gateway-b without a line refused no unknown car ({plate})")
    # A refusal is noted a moment after its car: a better read of the plate may follow.
    until(lambda: drill.gateway("gateway-b")["backlog"] >= OFFLINE_CARS, f"{OFFLINE_CARS} records at gateway-b")
    return [NEIGHBOUR, *strangers]


@contextmanager
def mended_at(drill: Upgrade, revision: str) -> Iterator[None]:
    """Give gateway b its line back when the database has the tables of a revision, or the block ends."""
    ended = threading.Event()

    def watch() -> None:
        while not ended.wait(2):
            try:
                there = drill.revision() == revision
            except LabError:
                continue
            if there:
                say(f"the database is at {revision}: gateway-b gets its line back")
                break
        drill.mend("gateway-b")

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def lost(before: dict[str, list[dict[str, Any]]], now: dict[str, list[dict[str, Any]]]) -> list[str]:
    """What of the records isn't there any more, or says something else. New records and new members are no loss."""
    found: list[str] = []
    for path, items in before.items():
        present = {each["id"]: each for each in now[path]}
        for item in items:
            if item["id"] not in present:
                found.append(f"{path}/{item['id']} is gone")
                continue
            changed = {key: value for key, value in item.items() if present[item["id"]].get(key) != value}
            if changed:
                other = {key: present[item["id"]].get(key) for key in changed}
                found.append(f"{path}/{item['id']} said {changed}, and says {other}")
    return found


def run(drill: Upgrade, old: Checkout, inventory: Path, seed: int) -> list[str]:
    """Carry it out and print its figures; returns what broke a promise."""
    new = checkout.today()
    build = must(old.play("site", inventory=old.root / "inventory/lab", log=LOGS / "before.log"))
    say(f"the release before stands after {build.took:.0f} s, its database at {drill.revision()}")
    made = fill(drill)
    say("dry run of today's site.yml")
    must(new.play("site", "--check", "--diff", inventory=inventory, log=LOGS / "check.log"))
    known = drill.passages()
    offline = offline_cars(drill, random.Random(seed))  # noqa: S311 (plates, no secret)
    writes = Writes()
    people = [
        *[reader(drill, 0.5, WAIT_S)] * 2,
        Person(lambda: drill.ask("GET", "/", within_s=WAIT_S), 1),
        writes.person(drill, 2),
    ]
    say(f"seed {seed}: today's site.yml while people ask and cars come; gateway-b has {len(offline)} cars to tell")
    began = time.monotonic()
    with load(drill, people, CARS_PER_MINUTE, seed) as found, mended_at(drill, new.newest_revision()):
        rolled = must(
            new.play("site", "-e", f"roll_canaries={GATEWAYS[0]}", inventory=inventory, log=LOGS / "upgrade.log")
        )
    for gateway in GATEWAYS:
        until(partial(drill.told, gateway), f"an empty backlog of {gateway}")
    broken = [*_requests(found, began), *_cars(drill, found, offline, known), *_written(drill, writes)]
    broken += [*_kept(drill, made), *_replaced(drill, made, new), *_gates(drill)]
    say("today's site.yml again")
    again = must(new.play("site", inventory=inventory, log=LOGS / "again.log"))
    drift = new.play("check-drift", inventory=inventory, log=LOGS / "drift.log")
    say(f"the upgrade, the second run took                  {rolled.took:.0f} s, {again.took:.0f} s")
    say(f"tasks that the second run changed                 {len(again.changed)}")
    say(f"check-drift                                       {'found something' if drift.code else 'found nothing'}")
    broken += [f"the second run changed something: {task}" for task in again.changed]
    return [*broken, *([f"check-drift ended with {drift.code}: {drift.log}"] if drift.code else [])]


def _requests(found: Load, began: float) -> list[str]:
    refused = found.refused()
    say(f"people's requests, refused                        {len(found.requests)}, {len(refused)}")
    say(f"the slowest answer                                {max(each.took for each in found.requests):.1f} s")
    broken = [f"refused {each.began - began:.0f} s after the start: {each.problem}" for each in refused[:5]]
    return [*broken, *([f"{len(refused) - 5} more were refused"] if len(refused) > 5 else [])]


def _cars(drill: Upgrade, found: Load, offline: list[str], known: Counter[str]) -> list[str]:
    rows = drill.passages() - known
    away = Load(cars=offline)
    missing, doubled = [*found.missing(rows), *away.missing(rows)], [*found.doubled(rows), *away.doubled(rows)]
    say(f"cars that gateways answered, of them offline      {len(set(found.cars)) + len(offline)}, {len(offline)}")
    say(f"  of them without a passage, with two             {len(missing)}, {len(doubled)}")
    return [
        *(f"{plate} was answered and isn't in the database" for plate in missing),
        *(f"{plate} is twice in the database" for plate in doubled),
        *([] if found.cars else ["no car was answered"]),
    ]


def _written(drill: Upgrade, writes: Writes) -> list[str]:
    there = Counter(each["name"] for each in drill.items("/api/v1/communities/a/units"))
    wrong = [name for name in writes.answered if there[name] != 1]
    say(f"units written meanwhile, of them not there once   {len(writes.answered)}, {len(wrong)}")
    broken = [f"unit {name} was answered and is there {there[name]} times" for name in wrong]
    return [*broken, *([] if writes.answered else ["nothing was written"])]


def _kept(drill: Upgrade, made: Made) -> list[str]:
    broken = lost(made.records, drill.records())
    say(f"records from before, of them lost or changed      {sum(map(len, made.records.values()))}, {len(broken)}")
    try:
        drill.ask("GET", made.visit)
    except OSError as error:
        broken.append(f"the visitor's link: {error}")
    head = f"?entries={made.chain['entries']}&hash={made.chain['hash']}"
    chain = drill.ask("GET", f"/api/v1/communities/a/audit/verification{head}", within_s=30)
    say(f"the audit trail's chain from before               {'holds' if chain['holds'] else 'IS BROKEN'}")
    return [*broken, *([] if chain["holds"] else [f"the audit trail: {chain['problem']}"])]


def _replaced(drill: Upgrade, made: Made, new: Checkout) -> list[str]:
    revision, images, releases = drill.revision(), drill.images(), drill.releases()
    stale = [each for each, image in images.items() if image in made.images.values()]
    stale += [each for each, release in releases.items() if release == made.releases[each]]
    say(f"the database's revision                           {revision} (newest {new.newest_revision()})")
    say(f"servers and gateways, of them not of this release {len(images) + len(releases)}, {len(stale)}")
    return [
        *([] if revision == new.newest_revision() else [f"the database is at {revision}, not {new.newest_revision()}"]),
        *(f"{each} still runs the release before" for each in stale),
    ]


def _gates(drill: Upgrade) -> list[str]:
    before, broken = drill.passages(), []
    for site, plate in (("a", PLATE), ("a", VISITOR), ("b", NEIGHBOUR)):
        if not drill.drive(site, plate, "opened"):
            broken.append(f"the gate of {site} didn't open for {plate}")
        else:
            until(partial(drill.passed, plate, before[plate] + 1), f"the passage of {plate}")
    say(f"gates for the cars from before                    {'opened' if not broken else 'STAYED CLOSED'}")
    return broken


def release_before() -> str:
    """The newest tag of a release that isn't this commit's, or what is upgraded while there is none."""
    command = ["git", "-C", str(ROOT), "tag", "--list", "v*", "--merged", "HEAD", "--no-contains", "HEAD"]
    done = subprocess.run([*command, "--sort=-version:refname"], capture_output=True, text=True, check=False)
    return (done.stdout.split() or [BEFORE_THE_FIRST_RELEASE])[0]


@contextmanager
def standing(lab: Lab, *, keep: bool) -> Iterator[Upgrade]:
    """A new lab, removed at the end unless it is to be kept."""
    if state.load(lab):
        raise LabError(f"lab {lab.name!r} is up, and the drill wants one of its own: take it down, or set PARKMESH_LAB")
    try:
        up.up(lab)
        yield Upgrade(lab)
    finally:
        if keep:
            say(f"kept the lab: PARKMESH_LAB={lab.name} make lab-down")
        else:
            down.down(lab)


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument(
        "--from",
        dest="before",
        metavar="REFERENCE",
        help="the release before, any commit of this clone (default: the newest tag of a release before this commit,"
        f" and {BEFORE_THE_FIRST_RELEASE[:8]} while there is none)",
    )
    parser.add_argument(
        "--inventory",
        type=Path,
        help="the inventory of the upgrade (default: the release's own inventory/lab, as operators keep theirs; give"
        " inventory/lab if what the upgrade notes ask for is in it)",
    )
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(10**6), help="plates of the cars")
    parser.add_argument("--keep", action="store_true", help="keep the lab and the release's checkout, to look at them")
    options = parser.parse_args()
    # Ended by a signal it takes the lab down, too.
    signal.signal(signal.SIGTERM, _end)
    os.environ.setdefault("PARKMESH_LAB", "upgrade")
    try:
        before = options.before or release_before()
        with checkout.of(before, keep=options.keep) as old:
            tables = f"tables {old.newest_revision()} to {checkout.today().newest_revision()}"
            say(f"from {before[:12]} to this clone, {tables}")
            with standing(ports.settle(os.environ), keep=options.keep) as drill:
                inventory = options.inventory or old.root / "inventory/lab"
                broken = run(drill, old, inventory.resolve(), options.seed)
    except LabError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    for line in broken:
        say(f"BROKEN: {line}")
    if not broken:
        say("nothing was lost")
    return 1 if broken else 0


def _end(number: int, frame: FrameType | None) -> None:
    raise SystemExit(128 + number)


if __name__ == "__main__":
    sys.exit(main())
