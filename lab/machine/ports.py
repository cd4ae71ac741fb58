"""The ports that a lab gets, given its own record and the other labs on this machine.

`names.from_environment` makes the choice; this module reads what it needs.
"""

import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lab.machine import engine, names, processes, state
from lab.machine.names import LABEL, Lab
from lab.machine.podman import PodmanError


def settle(environment: Mapping[str, str], root: Path = names.ROOT) -> Lab:
    """The lab that the environment describes, with the ports it has or, while it is new, the ports it gets.

    Raises:
        LabError: as `names.from_environment`.
    """
    lab = names.from_environment(environment, root)
    if facts := state.load(lab):
        return names.from_environment(environment, root, recorded=pair(facts))
    if not {lab.http_port, lab.aws_port} & {names.DEMO_HTTP_PORT, names.DEMO_AWS_PORT}:
        return lab
    return names.from_environment(environment, root, claimed=claimed_by_others(lab))


def pair(facts: Any) -> tuple[int, int] | None:
    """(HTTP, AWS) from what a lab.json holds; None when it holds no such thing."""
    match facts:
        case {"ports": {"http": int(http), "aws": int(aws)}}:
            return http, aws
    return None


def claimed_by_others(lab: Lab, proc: Path = processes.PROC) -> set[int]:
    """Loopback ports of the other labs on this machine, of this clone or another.

    A lab with a running daemon has both ports of its lab.json, also before its load balancer listens.
    """
    claimed: set[int] = set()
    for _, (name, root) in processes.daemons(proc):
        if (name, root) != (lab.name, lab.root):
            claimed.update(_recorded(root / ".lab" / name / "lab.json"))
    if os.geteuid() == 0 and shutil.which("podman"):
        podman, _ = engine.podman_for(lab, write=False)
        try:
            claimed |= published_by_others(podman.json("ps", "--filter", f"label={LABEL}"), lab.id)
        except (PodmanError, ValueError):
            # The preflight asks podman too, and says what is wrong with it.
            return claimed
    return claimed


def _recorded(path: Path) -> tuple[int, ...]:
    try:
        return pair(json.loads(path.read_text())) or ()
    except (OSError, ValueError):
        return ()


def published_by_others(rows: list[dict[str, Any]], lab: str) -> set[int]:
    """Ports that containers of labs other than `lab` publish; rows as `podman ps` has them."""
    return {
        int(port["host_port"])
        for row in rows
        for port in row.get("Ports") or []
        if (row.get("Labels") or {}).get(LABEL, lab) != lab
    }
