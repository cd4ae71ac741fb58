"""`zone`: let a zone of the lab's AWS fail, or come back.

Its hosts die at once and its NAT gateways lead nowhere; nothing starts there. Nobody tells AWS: load balancers find
dead targets by their checks. Groups that check no targets replace at once what AWS finds by its status checks, after
minutes.
"""

import json
import os
import signal
import time

from lab.machine import processes, state
from lab.machine.errors import LabError
from lab.machine.names import REGION, Lab
from lab.machine.progress import say

ZONES = tuple(f"{REGION}{letter}" for letter in "abcd")
PATIENCE_S = 30


def fail(lab: Lab, zone: str) -> None:
    """Return when all hosts of the zone are dead.

    Raises:
        LabError: there is no such zone, the lab isn't up, or its daemon didn't do it.
    """
    _tell(lab, zone, state.failed_zones(lab) | {zone})
    say(f"{zone} has failed: its hosts are dead, and nothing starts there")


def recover(lab: Lab, zone: str) -> None:
    """Return when hosts may start in the zone again.

    Raises:
        LabError: as ``fail``.
    """
    _tell(lab, zone, state.failed_zones(lab) - {zone})
    say(f"{zone} is back: groups spread over it again")


def _tell(lab: Lab, zone: str, failed: frozenset[str]) -> None:
    if zone not in ZONES:
        raise LabError(f"the lab has no zone {zone!r}: choose one of {', '.join(ZONES)}")
    state.require(lab)
    daemons = processes.find_daemons(lab.name, lab.root)
    if not daemons:
        raise LabError(f"the daemon of lab {lab.name!r} doesn't run: run `make lab-up` first")
    state.save_failed_zones(lab, failed)
    for daemon in daemons:
        os.kill(daemon.pid, signal.SIGHUP)
    deadline = time.monotonic() + PATIENCE_S
    while not _done(lab, failed):
        if time.monotonic() > deadline:
            raise LabError(f"the lab's daemon didn't follow within {PATIENCE_S} s (log: {lab.state / 'daemon.log'})")
        time.sleep(0.1)


def _done(lab: Lab, failed: frozenset[str]) -> bool:
    seen = json.loads((lab.state / "daemon.json").read_text())
    alive = [each["id"] for each in seen["instances"] if each["zone"] in failed and each["running"]]
    return seen["failed_zones"] == sorted(failed) and not alive
