"""Roll the app servers of a lab under load: to a release with one more migration and back, into a release that doesn't
work, and out and in by load alone.

The lab must stand as `make demo` builds it. People read through its load balancer and cameras of community a post cars
all the time. Nobody may be refused in any part, and each car that the gateway has answered must be one passage in the
database. The parts, each of which leaves the lab as the next one needs it:

- migration: a copy of the project with one more revision of the schema is baked and deployed; rollback-service.yml
  returns to the image before; the new release's next run keeps that; -e image=newest rolls forward again.
- broken: a copy whose server ends at its start, or never gets ready, as the seed chooses, is deployed. The roll stops
  at its first server and is taken back, and the playbook fails with a line that says so.
- scaling: with a low target of requests per server, the group grows as people ask more, and shrinks when they calm.
  It takes half an hour unless the lab was made with a shorter minute (LAB_METRIC_PERIOD_S=10 make demo).

    PARKMESH_LAB=demo python -m lab.drills.rolls --seed 7
"""

import argparse
import json
import os
import random
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from lab.aws import scaling
from lab.drills import checkout, releases
from lab.drills.checkout import Checkout, Played
from lab.drills.load import Load, LoadedLab, delivered, load, reader
from lab.drills.standing import PATIENCE_S, until
from lab.machine import ports
from lab.machine.names import ROOT, Lab
from lab.machine.progress import say

GROUP = "parkmesh-lab-app"
LOGS = ROOT / "test-results/rolls"
PIN = "/parkmesh/lab/image-pin"
MIGRATION = "ALTER TABLE space ADD COLUMN drill_note text"
"""Adds to a table that people read meanwhile, as a release may (app/tests/server/test_expand_contract.py)."""
DEPLOYED = "bake-image deploy-service"
"""What site.yml runs to deploy a release."""
SOON_S = 30
STALL_S = 90
"""aws_service_wait_s for the release that doesn't work: for how long a roll may stand still."""
BROKEN = {
    "ends at its start": (
        "app/src/parkmesh/server/commands/run.py",
        '\n\nasync def until_signal(*_: object) -> None:\n    raise SystemExit("this release is broken")\n',
    ),
    "never gets ready": (
        "app/src/parkmesh/server/web/app.py",
        '\n\nasync def ready(request: Request) -> Response:\n    return _answer(503, status="broken")\n',
    ),
}
"""What is wrong → the module, and what is added to it."""
REQUESTS_TARGET = 120
PEOPLE = 4
CALM_PAUSE_S, BUSY_PAUSE_S = 4.0, 0.1
"""For how long a person does nothing: four of them ask 60 times a minute, and more than a thousand times."""


class RollDrill(LoadedLab):
    """A lab whose servers are rolled, and the load on it."""

    def __init__(self, lab: Lab, seed: int, cars_per_minute: int) -> None:
        super().__init__(lab, seed, cars_per_minute)
        # A slow answer is none that was lost: builders of images want both processors of a small machine.
        self.people = [reader(self, BUSY_PAUSE_S, within_s=60) for _ in range(PEOPLE)]

    def load(self) -> AbstractContextManager[Load]:
        """People and cars until the block ends."""
        return load(self, self.people, self.cars_per_minute, self.seed)

    def wait_between(self, pause_s: float) -> None:
        """Have people do nothing for this long between two requests."""
        for person in self.people:
            person.pause_s = pause_s

    def servers(self) -> dict[str, str]:
        """Instance → image, of the app servers that run."""
        return {each["id"]: each["image"] for each in self.instances("app")}

    def group(self) -> dict[str, Any]:
        answer = self.client("autoscaling").describe_auto_scaling_groups(AutoScalingGroupNames=[GROUP])
        found: dict[str, Any] = answer["AutoScalingGroups"][0]
        return found

    def settled(self, size: int, image: str = "") -> bool:
        """Whether all servers are in service, healthy and of an image (any one, if none is named)."""
        servers = self.servers()
        return (
            len(servers) == self.healthy() == self.group()["DesiredCapacity"] == size
            and all(each["LifecycleState"] == "InService" for each in self.group()["Instances"])
            and set(servers.values()) <= {image or each for each in servers.values()}
        )

    def settles(self, size: int, image: str) -> bool:
        """Whether they are so soon: the lab looks at its hosts once a second."""
        deadline = time.monotonic() + SOON_S
        while not (settled := self.settled(size, image)) and time.monotonic() < deadline:
            time.sleep(1)
        return settled

    def refreshes(self) -> int:
        answer = self.client("autoscaling").describe_instance_refreshes(AutoScalingGroupName=GROUP)
        return len(answer["InstanceRefreshes"])

    def pin(self) -> dict[str, Any]:
        """The pin of the service; empty for none."""
        found = self.client("ssm").get_parameters(Names=[PIN])["Parameters"]
        return dict(json.loads(found[0]["Value"])) if found else {}


def migration(drill: RollDrill, folder: Path) -> list[str]:
    """To a release with one more migration, back, and forward again."""
    size, (before,) = drill.group()["DesiredCapacity"], set(drill.servers().values())
    project = releases.copy(folder / "next")
    revision = releases.add_migration(project, MIGRATION)
    if drill.revision() >= revision:
        raise SystemExit(f"the database has the drill's revision {revision} already: it needs a new lab")
    with drill.load() as found:
        rolled = _done(project, DEPLOYED)
        after = max(set(drill.servers().values()) - {before}, default="")
        wrong = _unless(
            bool(after) and drill.settles(size, after), f"not all of {size} servers run {after or 'another'}"
        )
        wrong += _unless(drill.revision() == revision, f"revision {revision} isn't in the database")
        back = _done(project, "rollback-service")
        wrong += _unless(drill.settles(size, before), f"after the rollback not all of {size} servers run {before}")
        wrong += _unless(drill.pin().get("image") == before, f"the service isn't pinned to {before}: {drill.pin()}")
        refreshes = drill.refreshes()
        again = _done(project, DEPLOYED)
        wrong += _unless(
            drill.settles(size, before) and drill.refreshes() == refreshes, "the next run has undone the rollback"
        )
        forward = _done(project, DEPLOYED, image="newest")
        wrong += _unless(drill.settles(size, after), f"with image=newest not all of {size} servers run {after}")
        wrong += _unless(not drill.pin(), f"with image=newest the pin is still there: {drill.pin()}")
    say(f"rolled to a release with revision {revision} in {rolled.took:.0f} s, with its image")
    say(f"back to the image before in {back.took:.0f} s; the new release's next run kept that ({again.took:.0f} s)")
    say(f"forward again with image=newest in {forward.took:.0f} s")
    return [*wrong, *_judge(drill, found)]


def broken(drill: RollDrill, folder: Path) -> list[str]:
    """Into a release that doesn't work."""
    size, (before,) = drill.group()["DesiredCapacity"], set(drill.servers().values())
    what = random.Random(drill.seed).choice(sorted(BROKEN))  # noqa: S311 (a choice, no secret)
    name, addition = BROKEN[what]
    project = releases.copy(folder / "broken")
    with (project / name).open("a") as module:
        module.write(addition)
    with drill.load() as found:
        servers = set(drill.servers())
        say(f"- {DEPLOYED} of a release whose server {what}")
        # A pin of an earlier run would keep the roll away.
        played = _played(project, DEPLOYED, image="newest", aws_service_wait_s=STALL_S)
        took = until(lambda: drill.settled(size, before), f"{size} servers of {before}", every_s=2)
        stayed = servers <= set(drill.servers())
        # So that no later run rolls to it again.
        pinned = _done(project, "rollback-service")
    output = played.log.read_text(errors="replace")
    said = [line.strip() for line in output.splitlines() if "was taken back" in line and "msg" in line]
    say(f"a release whose server {what}: deploy-service")
    say(f"  ended with {played.code} after {played.took:.0f} s and said: {said[0] if said else 'NOTHING of that'}")
    say(f"  {size} servers of the image before, healthy, {took:.0f} s later; pinned to it in {pinned.took:.0f} s")
    return [
        *_unless(played.code != 0, "the playbook took it for deployed"),
        *_unless(bool(said), f"the playbook's last words: {output[-1500:]}"),
        *_unless(stayed, "servers that worked were replaced"),
        *_unless(drill.pin().get("image") == before, f"the service isn't pinned to {before}: {drill.pin()}"),
        *_judge(drill, found),
    ]


def scale(drill: RollDrill, _: Path) -> list[str]:
    """Out and in by load alone."""
    _done(ROOT, "deploy-service", aws_service_requests_target=REQUESTS_TARGET)
    group, period_s = drill.group(), drill.facts["metric_period_s"]
    least, most = group["MinSize"], group["MaxSize"]
    with drill.load() as found:
        drill.wait_between(CALM_PAUSE_S)
        patience_s = 3 * scaling.BELOW * period_s + PATIENCE_S
        until(lambda: drill.settled(least), f"{least} servers", every_s=2, within_s=patience_s)
        drill.wait_between(BUSY_PAUSE_S)
        grown = until(lambda: drill.settled(most), f"{most} servers", every_s=2, within_s=patience_s)
        drill.wait_between(CALM_PAUSE_S)
        shrunk = until(lambda: drill.settled(least), f"{least} servers", every_s=2, within_s=patience_s)
    say(f"metrics were gathered for {period_s} s at a time (CloudWatch: 60 s)")
    say(f"under load {most} servers instead of {least}, healthy after {grown:.0f} s")
    say(f"in the calm {least} again after {shrunk:.0f} s")
    _done(ROOT, "deploy-service")
    return _judge(drill, found)


PARTS: dict[str, Callable[[RollDrill, Path], list[str]]] = {"migration": migration, "broken": broken, "scaling": scale}


def _played(project: Path, playbooks: str, **inputs: object) -> Played:
    """Run playbooks of a checkout on the lab."""
    log = LOGS / f"{playbooks.replace(' ', '-')}.log"
    release = Checkout(project, Path(sys.executable).parent)
    return release.play(playbooks, "-e", json.dumps(inputs), inventory=project / "inventory/lab", log=log)


def _done(project: Path, playbooks: str, **inputs: object) -> Played:
    """Run playbooks that have to end well."""
    say(f"- {playbooks}{''.join(f' -e {name}={value}' for name, value in inputs.items())}")
    return checkout.must(_played(project, playbooks, **inputs))


def _judge(drill: RollDrill, found: Load) -> list[str]:
    """Print what became of the load; returns what was lost of it."""
    unkept, refused = found.unkept(delivered(drill, found)), found.refused()
    slowest = max(each.took for each in found.requests)
    say(f"people's requests {len(found.requests)}, refused {len(refused)}, the slowest {slowest:.1f} s")
    say(f"cars answered by the gateway {len(found.cars)}, of them without a passage or with two {len(unkept)}")
    return [
        *(f"a request was refused: {each.problem}" for each in refused[:3]),
        *_unless(len(refused) <= 3, f"and {len(refused) - 3} more"),
        *unkept,
        *_unless(bool(found.cars) or not drill.cars_per_minute, "no car was answered"),
    ]


def _unless(well: bool, what: str) -> list[str]:
    return [] if well else [what]


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(10**6))
    parser.add_argument("--part", choices=PARTS, action="append", help="only this part; may be given several times")
    parser.add_argument(
        "--cars-per-minute", type=int, default=60, help="0: people alone, for a lab without communities"
    )
    options = parser.parse_args()
    say(f"seed {options.seed}")
    drill = RollDrill(ports.settle(os.environ), options.seed, options.cars_per_minute)
    failures = 0
    for name in options.part or PARTS:
        say(f"== {name}")
        with tempfile.TemporaryDirectory(prefix="parkmesh-drill-") as folder:
            wrong = PARTS[name](drill, Path(folder))
        for line in wrong:
            say(f"BROKEN: {line}")
        failures += len(wrong)
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
