"""Lose a zone of the lab under load, and get it back: what was lost, what people noticed, how long capacity was short.

The lab must stand, with NAT instances (``LAB_EGRESS=nat_instance make demo``). Cameras of community a post cars that
nobody knows, each with a plate of its own, and people read through the load balancer, all the time. A seed chooses zone
and plates. At the end each car that the gateway has answered must be one passage in the database, people must have been
refused for no longer than the load balancer's checks take, and servers and NAT instances must be where they were.

    PARKMESH_LAB=demo python -m lab.drills.zone_lost --seed 7
"""

import argparse
import json
import os
import random
import re
import subprocess
import sys
import threading
import time
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import boto3

from lab.commands import status, zone
from lab.machine import engine, ports, state
from lab.machine.names import REGION, Lab
from lab.machine.podman import Podman
from lab.machine.progress import say

GROUP = "parkmesh-lab-app"
SITE = "/run/drill-site.json"
CAR = re.compile(r"(\S+) at cam-\S+")
"""What the simulator prints of a car that the gateway has answered (parkmesh.simulator.traffic)."""
PEOPLE = 4
PAUSE_S = 0.1
REQUEST_S = 5.0
"""How long a person waits for an answer before it counts as refused."""
CALM_S = 15
PATIENCE_S = 300


@dataclass(frozen=True)
class Request:
    """A person's: when it began (monotonic), how long it took, and whether it was answered."""

    began: float
    took: float
    well: bool


@dataclass
class Load:
    """What was asked and answered while the drill ran. ``cars`` are the plates that the gateway accepted."""

    requests: list[Request] = field(default_factory=list)
    cars: list[str] = field(default_factory=list)


class Drill:
    """A lab that stands, its AWS API and the load on it."""

    def __init__(self, lab: Lab, seed: int, cars_per_minute: int) -> None:
        self.lab, self.seed, self.facts = lab, seed, state.require(lab)
        self.podman: Podman = engine.podman_for(lab, write=False)[0]
        self.cars_per_minute = cars_per_minute
        # Without communities nobody has an account.
        self._token = self._sign_in() if cars_per_minute else ""

    def client(self, service: str) -> Any:
        keys = {"aws_access_key_id": "lab", "aws_secret_access_key": "lab"}
        return boto3.client(service, endpoint_url=self.facts["aws_endpoint_url"], region_name=REGION, **keys)

    def hosts(self, kind: str) -> dict[str, list[str]]:
        """Zone → instances that run, ``app`` servers or ``nat`` instances."""
        found: dict[str, list[str]] = {}
        for each in status.collect(self.lab)["cloud"].get("instances", []):
            if each["running"] and (each["group"] or "").startswith(f"parkmesh-lab-{kind}"):
                found.setdefault(each["zone"], []).append(each["id"])
        return found

    def healthy(self) -> int:
        return len([each for each in self._targets() if each["TargetHealth"]["State"] == "healthy"])

    def patience(self) -> tuple[int, int]:
        """Seconds after which the load balancer's checks find a dead target, and how long one of them may take more."""
        group = self._target_group()
        return (
            int(group["HealthCheckIntervalSeconds"]) * int(group["UnhealthyThresholdCount"]),
            int(group["HealthCheckTimeoutSeconds"]),
        )

    def ways_out(self) -> set[str]:
        """Zones whose app subnets' default route leads to the zone's own NAT instance, with the address taken."""
        ec2, nats = self.client("ec2"), self.hosts("nat")
        tables = ec2.describe_route_tables(Filters=[{"Name": "tag:Role", "Values": ["app"]}])["RouteTables"]
        to = {route.get("InstanceId") for table in tables for route in table["Routes"]}
        taken = {each.get("InstanceId") for each in ec2.describe_addresses()["Addresses"]}
        return {name for name, instances in nats.items() if set(instances) & to & taken}

    def lose(self, name: str, server: str) -> float:
        """Let a zone fail; return when (monotonic) this server of it died."""
        containers = {each.name: each.pid for each in self.podman.containers(self.lab.label)}
        process = Path(f"/proc/{containers[self.lab.thing(server)]}")
        failing = threading.Thread(target=zone.fail, args=(self.lab, name))
        failing.start()
        _until(lambda: not process.exists(), f"the end of {server}", every_s=0.02)
        died = time.monotonic()
        failing.join()
        return died

    def passages(self) -> Counter[str]:
        """How many passages the database has of each plate."""
        (database,) = status.collect(self.lab)["cloud"]["databases"]
        name = self.client("rds").describe_db_instances()["DBInstances"][0]["DBName"]
        script = f"runuser -u postgres -- psql -d {name} -Atc 'SELECT plate FROM passage'"  # noqa: S608
        return Counter(self.podman.shell(self.lab.thing(f"db-{database['identifier']}"), script).split())

    def backlog(self) -> int:
        words = "parkmesh gateway status --config /etc/parkmesh/gateway.json"
        return int(json.loads(self.podman.shell(self.lab.thing("gateway-a"), words))["backlog"])

    @contextmanager
    def load(self) -> Iterator[Load]:
        """Cars and people until the block ends."""
        load, ended = Load(), threading.Event()
        threads = [threading.Thread(target=self._read, args=(load, ended)) for _ in range(PEOPLE)]
        cameras = self._cameras() if self.cars_per_minute else None
        if cameras is not None:
            threads.append(threading.Thread(target=self._note, args=(load, cameras)))
        for thread in threads:
            thread.start()
        try:
            yield load
        finally:
            ended.set()
            if cameras is not None:
                # The signal is for the process in the container: podman passes none on.
                self.podman.shell(self.lab.thing("devices-a"), "pkill -TERM -f '[d]rill-site' || true")
                cameras.wait(timeout=30)
            for thread in threads:
                thread.join()

    def _cameras(self) -> "subprocess.Popen[str]":
        host = self.lab.thing("devices-a")
        site = json.loads(self.podman.shell(host, "cat /etc/parkmesh/site.json"))
        site |= {"relays": [], "sensors": [], "plates": []}
        site["cameras"] = [{**each, "relay": None} for each in site["cameras"]]
        self.podman.shell(host, f"cat > {SITE} <<'E'\n{json.dumps(site)}\nE")
        command = f"parkmesh simulate site --site {SITE} --cars {self.cars_per_minute} --sensors 0 --seed {self.seed}"
        return subprocess.Popen(
            [self.podman.program, "exec", host, *command.split()],
            stdout=subprocess.PIPE,
            text=True,
            env=self.podman.environment,
        )

    def _note(self, load: Load, cameras: "subprocess.Popen[str]") -> None:
        assert cameras.stdout is not None
        for line in cameras.stdout:
            if found := CAR.fullmatch(line.strip()):
                load.cars.append(found[1])

    def _read(self, load: Load, ended: threading.Event) -> None:
        while not ended.wait(PAUSE_S):
            began = time.monotonic()
            well = self._answers()
            load.requests.append(Request(began, time.monotonic() - began, well))

    def _answers(self) -> bool:
        request = urllib.request.Request(  # noqa: S310
            f"{self.facts['load_balancer_url']}{'/api/v1/communities/a/spaces' if self._token else '/'}",
            headers={"Authorization": f"Bearer {self._token}"} if self._token else {},
        )
        try:
            with urllib.request.urlopen(request, timeout=REQUEST_S) as answer:  # noqa: S310
                return bool(answer.read())
        except OSError:
            return False

    def _sign_in(self) -> str:
        password = (self.lab.secrets / "desk-password").read_text().strip()
        request = urllib.request.Request(  # noqa: S310
            f"{self.facts['load_balancer_url']}/api/v1/sessions",
            data=json.dumps({"email": "desk@parkmesh.example", "password": password}).encode(),
            headers={"Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=30) as answer:  # noqa: S310
            return str(json.load(answer)["token"])

    def _target_group(self) -> dict[str, Any]:
        found: dict[str, Any] = self.client("elbv2").describe_target_groups()["TargetGroups"][0]
        return found

    def _targets(self) -> list[dict[str, Any]]:
        arn = self._target_group()["TargetGroupArn"]
        found: list[dict[str, Any]] = self.client("elbv2").describe_target_health(TargetGroupArn=arn)[
            "TargetHealthDescriptions"
        ]
        return found


def _until(look: Callable[[], object], what: str, every_s: float = 0.5) -> float:
    """Seconds until ``look`` is true."""
    began = time.monotonic()
    while not look():
        if time.monotonic() - began > PATIENCE_S:
            raise SystemExit(f"waited {PATIENCE_S} s for {what}")
        time.sleep(every_s)
    return time.monotonic() - began


def run(drill: Drill) -> list[str]:
    """Carry it out and print its figures; returns what broke a promise."""
    servers, nats = drill.hosts("app"), drill.hosts("nat")
    if len(servers) < 2 or sorted(nats) != sorted(servers) or drill.healthy() < 2:
        raise SystemExit(f"needs servers and NAT instances in two zones: servers in {servers}, NAT instances in {nats}")
    wanted = sum(map(len, servers.values()))
    lost = random.Random(drill.seed).choice(sorted(servers))  # noqa: S311 (a choice, no secret)
    (kept,) = sorted(set(servers) - {lost})
    say(f"seed {drill.seed}: {lost} is lost, with {', '.join(servers[lost])} and its NAT instance")
    with drill.load() as load:
        time.sleep(CALM_S)
        failed = drill.lose(lost, servers[lost][0])
        made_up = _until(
            lambda: lost not in (now := drill.hosts("app")) and len(now.get(kept, [])) == drill.healthy() == wanted,
            f"{wanted} healthy servers in {kept}",
        )
        untouched = drill.hosts("nat").get(kept) == nats[kept] and kept in drill.ways_out()
        time.sleep(CALM_S)
        back = time.monotonic()
        zone.recover(drill.lab, lost)
        spread = _until(
            lambda: (
                {name: len(each) for name, each in drill.hosts("app").items()}
                == {name: len(each) for name, each in servers.items()}
                and drill.healthy() == wanted
                and drill.ways_out() == {lost, kept}
            ),
            f"servers and ways out in {lost} and {kept}",
        )
        time.sleep(CALM_S)
    if load.cars:
        _until(lambda: drill.backlog() == 0, "an empty backlog of gateway-a")
    rows = drill.passages()
    broken = _tell(drill, load, rows, failed, back, made_up, spread, untouched)
    return [*broken, *(["no car was answered"] if drill.cars_per_minute and not load.cars else [])]


def _tell(
    drill: Drill,
    load: Load,
    rows: Counter[str],
    failed: float,
    back: float,
    made_up: float,
    spread: float,
    untouched: bool,
) -> list[str]:
    cars = Counter(load.cars)
    missing = [plate for plate in cars if rows[plate] < 1]
    doubled = [plate for plate in cars if rows[plate] > 1]
    refused = sorted((each for each in load.requests if not each.well), key=lambda each: each.began)
    outage = refused[-1].began - failed if refused else 0.0
    later = [each for each in refused if each.began >= back]
    promised, check_s = drill.patience()
    say(f"cars answered by the gateway                      {len(cars)}")
    say(f"  of them without a passage, with two             {len(missing)}, {len(doubled)}")
    say(f"people's requests, refused                        {len(load.requests)}, {len(refused)}")
    say(f"  the last refused one began after the death      {outage:.1f} s (allowed {promised} + {check_s} s)")
    say(f"servers made up elsewhere after                   {made_up:.1f} s")
    say(f"the other zone's NAT instance and way out         {'untouched' if untouched else 'CHANGED'}")
    say(f"servers and NAT instance back in the zone after   {spread:.1f} s, {len(later)} requests refused meanwhile")
    return [
        *(f"{plate} was answered and isn't in the database" for plate in missing),
        *(f"{plate} is twice in the database" for plate in doubled),
        *([f"people were refused for {outage:.1f} s"] if outage > promised + check_s else []),
        *([] if untouched else ["the other zone's way out changed"]),
    ]


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(10**6))
    parser.add_argument(
        "--cars-per-minute", type=int, default=120, help="0: people alone, for a lab without communities"
    )
    options = parser.parse_args()
    broken = run(Drill(ports.settle(os.environ), options.seed, options.cars_per_minute))
    for line in broken:
        say(f"BROKEN: {line}")
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
