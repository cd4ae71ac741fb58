"""Kill app servers of a lab, one by one as a seed chooses, and tell how soon those that come instead are of use.

The lab must stand as `make demo` builds it, with nothing else to do. Of each instance that its group starts instead:

- healthy: from the start of its first process until the load balancer takes it for healthy;
- overlay: from the moment when it has leased a slot until its ZeroTier has joined the network (status OK).

Exits with 1 if one took longer than was promised (15 and 3 s; 6 s with ZeroTier's own daemon).

    PARKMESH_LAB=demo python -m lab.drills.starts --seed 7 --kills 5
"""

import argparse
import os
import random
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from lab.drills.standing import PATIENCE_S, StandingLab, until
from lab.driver.hosts import AWAIT_SYSTEMD
from lab.machine import ports
from lab.machine.progress import say

HEALTHY_S = 15.0
OVERLAY_S, OVERLAY_REAL_S = 3.0, 6.0
# Prints microseconds of the clock that all containers share: the host's first process, the lease, the joined network.
MARKS = f"""
{AWAIT_SYSTEMD}
joined() {{ zerotier-cli -j listnetworks 2>/dev/null | grep -q '"status": *"OK"'; }}
until joined; do sleep 0.1; done
now=$(python3 -c 'import time; print(time.monotonic_ns() // 1000)')
systemctl show --value -p UserspaceTimestampMonotonic
systemctl show --value -p ExecMainExitTimestampMonotonic parkmesh-overlay.service
echo $now
"""


@dataclass(frozen=True)
class Start:
    """How long one instance took, in seconds."""

    instance: str
    healthy: float
    overlay: float


class StartDrill(StandingLab):
    """A lab whose servers are killed."""

    def servers(self) -> set[str]:
        return {each["id"] for each in self.instances("app")}

    def replace(self, instance: str) -> Start:
        """Kill a server, and watch the one that its group starts."""
        before = self.servers()
        self.podman.run("kill", self.lab.thing(instance))
        until(lambda: self.servers() - before, "the next server", every_s=0.2)
        (new,) = self.servers() - before
        with ThreadPoolExecutor(1) as beside:
            marks = beside.submit(self.podman.shell, self.lab.thing(new), MARKS, timeout=PATIENCE_S)
            until(lambda: new in self.healthy_targets(), f"{new} to be healthy", every_s=0.1)
            healthy = time.monotonic()
            started, leased, joined = (int(word) / 1e6 for word in marks.result().split())
        return Start(new, healthy - started, joined - leased)


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(10**6))
    parser.add_argument("--kills", type=int, default=5)
    options = parser.parse_args()
    drill = StartDrill(ports.settle(os.environ))
    overlay_s = OVERLAY_REAL_S if drill.facts["overlay"]["kind"] != "lab" else OVERLAY_S
    source, starts = random.Random(options.seed), []  # noqa: S311 (a choice, no secret)
    say(f"seed {options.seed}")
    size = len(drill.servers())
    for _ in range(options.kills):
        until(lambda: drill.healthy() == len(drill.servers()) == size, f"{size} healthy servers")
        one = drill.replace(source.choice(sorted(drill.servers())))
        say(f"{one.instance}: healthy after {one.healthy:.1f} s, overlay {one.overlay:.1f} s after its lease")
        starts.append(one)
    late = [
        *(f"{each.instance} was healthy after {each.healthy:.1f} s" for each in starts if each.healthy > HEALTHY_S),
        *(f"{each.instance} had joined after {each.overlay:.1f} s" for each in starts if each.overlay > overlay_s),
    ]
    for line in late:
        say(f"BROKEN: {line}")
    return 1 if late else 0


if __name__ == "__main__":
    sys.exit(main())
