"""podman for a lab: whether it needs settings of its own on this machine, and the file that holds them.

A virtual machine without CAP_SYS_RESOURCE may not raise limits, which podman does by default; hybrid cgroups (version 1
with a version 2 tree beside it) are more than crun accepts. On an ordinary machine nothing is written.
"""

import os
import shutil
from pathlib import Path

from lab.machine.names import Lab
from lab.machine.podman import Podman

CAP_SYS_RESOURCE = 24


def settings(capability_bounds: int, hybrid_cgroups: bool, runc_installed: bool) -> str | None:
    """The content for CONTAINERS_CONF, or None where podman's defaults work."""
    lines: list[str] = []
    if not capability_bounds >> CAP_SYS_RESOURCE & 1:
        lines += ["[containers]", 'default_ulimits = ["nofile=10000:10000", "nproc=10000:10000"]']
    if hybrid_cgroups and runc_installed:
        lines += ["[engine]", 'runtime = "runc"']
    return "\n".join(lines) + "\n" if lines else None


def capability_bounds(status: str) -> int:
    """CapBnd from the text of /proc/self/status."""
    for line in status.splitlines():
        if line.startswith("CapBnd:"):
            return int(line.split()[1], 16)
    raise ValueError("no CapBnd in /proc/self/status")


def has_hybrid_cgroups(root: Path = Path("/sys/fs/cgroup")) -> bool:
    return not (root / "cgroup.controllers").exists() and (root / "unified").is_dir()


def settings_for_this_machine() -> str | None:
    status = Path("/proc/self/status").read_text()
    return settings(capability_bounds(status), has_hybrid_cgroups(), shutil.which("runc") is not None)


def podman_for(lab: Lab, *, write: bool = True) -> tuple[Podman, str | None]:
    """podman for this lab, and the settings file it uses (None: podman's defaults).

    A CONTAINERS_CONF that is set already is the user's choice and stays.
    """
    chosen = os.environ.get("CONTAINERS_CONF")
    content = settings_for_this_machine()
    if not chosen and content is not None:
        path = lab.state / "containers.conf"
        if write and not (path.exists() and path.read_text() == content):
            lab.state.mkdir(parents=True, exist_ok=True)
            path.write_text(content)
        if path.exists():
            chosen = str(path)
    environment = {**os.environ, **({"CONTAINERS_CONF": chosen} if chosen else {})}
    return Podman(environment), chosen
