"""Lose a zone of the lab under load, and get it back: what was lost, what people noticed, how long capacity was short.

The lab must stand, with NAT instances (``LAB_EGRESS=nat_instance make demo``) if their loss is to be seen too. Its
database is given a second zone (``aws_data_multi_az``). Cameras of community a post cars that nobody knows, each with
a plate of its own, and people read through the load balancer, all the time. A seed chooses zone and plates, and the
database's primary is brought to that zone first. At the end each car that the gateway has answered must be one passage
in the database, people must have been refused for no longer than the load balancer's checks or the database's failover
take, the other zone's servers must still be there, and servers and NAT instances must be where they were.

    PARKMESH_LAB=demo python -m lab.drills.zone_lost --seed 7
"""

import argparse
import os
import random
import subprocess
import sys
import threading
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from lab.commands import zone
from lab.drills import checkout
from lab.drills.load import Load, LoadedLab, delivered, load, reader
from lab.drills.standing import until
from lab.machine import ports
from lab.machine.errors import LabError
from lab.machine.names import ROOT
from lab.machine.progress import say

PEOPLE = 4
PAUSE_S = 0.1
CALM_S = 15
LOG = ROOT / "test-results/zone-lost.log"
FAILOVER_S = 60
"""RDS says that a failover takes 60 to 120 s (user guide, "Failing over a Multi-AZ DB instance"). The lab's takes no
longer than the shortest of these."""


class ZoneDrill(LoadedLab):
    """A lab of which a zone is lost, and the load on it."""

    def primary(self) -> str:
        """Zone of the database's primary that answers, nothing while none does."""
        try:
            database = self.database()
        except LabError:
            return ""
        asked = [self.podman.program, "exec", database["container"], "pg_isready", "--quiet"]
        done = subprocess.run(asked, env=self.podman.environment, capture_output=True, timeout=30, check=False)
        return "" if done.returncode or database["problem"] else str(database["zone"])

    def patience(self) -> tuple[int, int]:
        """Seconds after which the load balancer's checks find a dead target, and how long one of them may take more."""
        group = self.target_group()
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
        until(lambda: not process.exists(), f"the end of {server}", every_s=0.02)
        died = time.monotonic()
        failing.join()
        return died

    def bring_primary(self, name: str) -> None:
        """Fail over to a zone, unless the primary is there."""
        rds = self.client("rds")
        (row,) = rds.describe_db_instances()["DBInstances"]
        if not row["MultiAZ"]:
            say("- provision-data -e aws_data_multi_az=True")
            checkout.must(
                checkout.today().play(
                    "provision-data", "-e", "aws_data_multi_az=true", inventory=ROOT / "inventory/lab", log=LOG
                )
            )
        if row["AvailabilityZone"] != name:
            rds.reboot_db_instance(DBInstanceIdentifier=row["DBInstanceIdentifier"], ForceFailover=True)
        took = until(lambda: self.primary() == name and self.healthy() >= 2, f"the primary in {name}")
        say(f"the database's primary is in {name} ({took:.1f} s)")


def run(drill: ZoneDrill) -> list[str]:
    """Carry it out and print its figures; returns what broke a promise."""
    servers, nats = drill.hosts("app"), drill.hosts("nat")
    if len(servers) < 2 or (nats and sorted(nats) != sorted(servers)) or drill.healthy() < 2:
        raise SystemExit(f"needs servers in two zones, and NAT instances in both or none: {servers}, {nats}")
    wanted = sum(map(len, servers.values()))
    lost = random.Random(drill.seed).choice(sorted(servers))  # noqa: S311 (a choice, no secret)
    (kept,) = sorted(set(servers) - {lost})
    drill.bring_primary(lost)
    parts = [*servers[lost], *nats.get(lost, []), "the database's primary"]
    say(f"seed {drill.seed}: {lost} is lost, with {', '.join(parts)}")
    with load(drill, [reader(drill, PAUSE_S) for _ in range(PEOPLE)], drill.cars_per_minute, drill.seed) as found:
        time.sleep(CALM_S)
        failed = drill.lose(lost, servers[lost][0])
        until(lambda: drill.primary() == kept, f"the primary in {kept}")
        failover = time.monotonic() - failed
        until(
            lambda: lost not in (now := drill.hosts("app")) and len(now.get(kept, [])) == drill.healthy() == wanted,
            f"{wanted} healthy servers in {kept}",
        )
        made_up = time.monotonic() - failed
        untouched = not nats or (drill.hosts("nat").get(kept) == nats[kept] and kept in drill.ways_out())
        stayed = set(servers[kept]) <= set(drill.hosts("app")[kept])
        time.sleep(CALM_S)
        back = time.monotonic()
        zone.recover(drill.lab, lost)
        spread = until(
            lambda: (
                {name: len(each) for name, each in drill.hosts("app").items()}
                == {name: len(each) for name, each in servers.items()}
                and drill.healthy() == wanted
                and (not nats or drill.ways_out() == {lost, kept})
            ),
            f"servers and ways out in {lost} and {kept}",
        )
        time.sleep(CALM_S)
    unkept = found.unkept(delivered(drill, found))
    broken = _tell(drill, found, unkept, Seen(failed, back, failover, made_up, spread, untouched, stayed))
    return [*broken, *(["no car was answered"] if drill.cars_per_minute and not found.cars else [])]


@dataclass(frozen=True)
class Seen:
    """When the zone failed and came back (monotonic), how long parts took (s), and what stayed in the other zone."""

    failed: float
    back: float
    failover: float
    made_up: float
    spread: float
    untouched: bool
    stayed: bool


def _tell(drill: ZoneDrill, found: Load, unkept: list[str], seen: Seen) -> list[str]:
    refused = found.refused()
    outage = refused[-1].began - seen.failed if refused else 0.0
    later = [each for each in refused if each.began >= seen.back]
    allowed = max(sum(drill.patience()), FAILOVER_S)
    say(f"cars answered by the gateway                      {len(found.cars)}")
    say(f"  of them without a passage, or with two          {len(unkept)}")
    say(f"people's requests, refused                        {len(found.requests)}, {len(refused)}")
    say(f"  the last refused one began after the death      {outage:.1f} s (allowed {allowed} s)")
    for problem, count in Counter(each.problem for each in refused).most_common(5):
        say(f"  {count} times: {problem[:100]}")
    say(f"the database's primary in the other zone after    {seen.failover:.1f} s (allowed {FAILOVER_S} s)")
    say(f"servers made up elsewhere after                   {seen.made_up:.1f} s")
    say(f"the other zone's servers                          {'stayed' if seen.stayed else 'REPLACED'}")
    say(f"the other zone's NAT instance and way out         {'untouched' if seen.untouched else 'CHANGED'}")
    say(f"servers and NAT instance back in the zone after   {seen.spread:.1f} s, {len(later)} refused meanwhile")
    return [
        *unkept,
        *([f"people were refused for {outage:.1f} s"] if outage > allowed else []),
        *([f"the database was away for {seen.failover:.1f} s"] if seen.failover > FAILOVER_S else []),
        *([] if seen.untouched else ["the other zone's way out changed"]),
        *([] if seen.stayed else ["servers that had lost nothing were replaced"]),
    ]


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(10**6))
    parser.add_argument(
        "--cars-per-minute", type=int, default=120, help="0: people alone, for a lab without communities"
    )
    options = parser.parse_args()
    broken = run(ZoneDrill(ports.settle(os.environ), options.seed, options.cars_per_minute))
    for line in broken:
        say(f"BROKEN: {line}")
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
