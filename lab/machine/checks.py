"""What must be true before anything starts: each problem is one line that says what was found and what to do.

`problems` is pure; `gather` reads the machine.
"""

import os
import platform
import shutil
import socket
import subprocess
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from lab.machine import inotify, processes, system
from lab.machine.names import Lab
from lab.machine.podman import Podman, PodmanError

# Measured on Debian 12, amd64: the base image takes 0.6 GB and about as much again while it is built, two baked images
# 0.5 GB, the database 0.1 GB, running containers 0.1 GB; the clone's own folders (Python environment, archive of the
# base image, built packages) 1.1 GB. Half as much again is room to work.
NEEDED_CONTAINERS_GB = 3.0
NEEDED_REPOSITORY_GB = 1.7

# Each host's systemd holds four, and a new lab starts six hosts.
NEEDED_INOTIFY = 30
PROGRAMS = {
    "podman": "podman",
    "mmdebstrap": "mmdebstrap",
    "nsenter": "util-linux",
    "ip": "iproute2",
    "nft": "nftables",
    "ssh-keygen": "openssh-client",
}


@dataclass(frozen=True)
class Volume:
    """A folder that fills, the device it is on, and gigabytes there: free now, needed by the lab."""

    path: str
    device: int
    free_gb: float
    needed_gb: float


@dataclass(frozen=True)
class Port:
    """A loopback port that the lab wants. `holder` is None while it is free, else the process that has it ('' when not
    visible)."""

    number: int
    variable: str
    holder: str | None
    ours: bool = False


@dataclass(frozen=True)
class Facts:
    """What a machine is like, as far as the lab cares. `free_inotify` counts no further than the lab needs."""

    user_id: int
    system: Mapping[str, str]
    machine: str
    volumes: tuple[Volume, ...]
    missing_programs: tuple[str, ...]
    podman_error: str | None
    has_tun: bool
    ports: tuple[Port, ...]
    free_inotify: int = NEEDED_INOTIFY


def problems(facts: Facts) -> list[str]:
    """One line per problem; empty when the lab can start."""
    found = system.basic_problems(facts.user_id, dict(facts.system), facts.machine)
    if facts.missing_programs:
        packages = sorted({PROGRAMS[program] for program in facts.missing_programs})
        found.append(f"missing: {', '.join(facts.missing_programs)}; run: apt-get install {' '.join(packages)}")
    if facts.podman_error:
        found.append(f"podman does not work here: {facts.podman_error}")
    if not facts.has_tun:
        found.append("no /dev/net/tun, which the overlay needs; run: modprobe tun")
    if facts.free_inotify < NEEDED_INOTIFY:
        found.append(
            f"too few inotify instances: {facts.free_inotify} left, {NEEDED_INOTIFY} needed by the hosts; take another "
            f"lab down or run: sysctl fs.inotify.max_user_instances={inotify.ENOUGH}"
        )
    found += _too_full(facts.volumes)
    found += [_taken(port) for port in facts.ports if port.holder is not None and not port.ours]
    return found


def _too_full(volumes: Iterable[Volume]) -> list[str]:
    by_device: dict[int, list[Volume]] = {}
    for volume in volumes:
        by_device.setdefault(volume.device, []).append(volume)
    found = []
    for group in by_device.values():
        needed, free = sum(volume.needed_gb for volume in group), min(volume.free_gb for volume in group)
        if free < needed:
            paths = " and ".join(volume.path for volume in group)
            found.append(f"disk too small: {free:.1f} GB free for {paths}, {needed:.1f} GB needed")
    return found


def _taken(port: Port) -> str:
    who = f" by {port.holder}" if port.holder else ""
    return f"port {port.number} on 127.0.0.1 is taken{who}; free it or choose another with {port.variable}=<port>"


def gather(lab: Lab, podman: Podman, *, images_present: bool = False, installed: bool = True) -> Facts:
    """Read the machine.

    Args:
        images_present: the lab's base image exists already and needs no room.
        installed: programs that are missing are a problem; before an installation they are not.
    """
    missing = tuple(program for program in PROGRAMS if shutil.which(program) is None)
    podman_error: str | None = None
    graph = Path("/var/lib/containers")
    ours: set[int] = set()
    if "podman" not in missing and os.geteuid() == 0:
        try:
            graph = Path(podman.json("info")["store"]["graphRoot"])
            ours = _published(podman, lab)
        except (PodmanError, KeyError, ValueError) as error:
            podman_error = str(error) if installed else None
    if processes.find_daemons(lab.name, lab.root):
        ours.add(lab.aws_port)
    factor = 0.4 if images_present else 1.0
    return Facts(
        user_id=os.geteuid(),
        system=system.os_release(),
        machine=platform.machine(),
        volumes=(
            _volume(graph, NEEDED_CONTAINERS_GB * factor),
            _volume(lab.root, NEEDED_REPOSITORY_GB * factor),
        ),
        missing_programs=missing if installed else (),
        podman_error=podman_error,
        has_tun=Path("/dev/net/tun").exists(),
        ports=tuple(
            Port(number, variable, holder_of(number), ours=number in ours)
            for number, variable in ((lab.http_port, "LAB_HTTP_PORT"), (lab.aws_port, "LAB_AWS_PORT"))
        ),
        # The hosts of a lab that stands have theirs, and `up` sets a limit that is low.
        free_inotify=NEEDED_INOTIFY if images_present or inotify.may_raise() else inotify.free(NEEDED_INOTIFY),
    )


def _volume(path: Path, needed_gb: float) -> Volume:
    while not path.exists():
        path = path.parent
    return Volume(str(path), path.stat().st_dev, shutil.disk_usage(path).free / 1e9, needed_gb)


def _published(podman: Podman, lab: Lab) -> set[int]:
    """Loopback ports that this lab's own containers publish."""
    rows = podman.json("ps", "--filter", f"label={lab.label}")
    return {int(port["host_port"]) for row in rows for port in row.get("Ports") or []}


def holder_of(port: int) -> str | None:
    """None when the loopback port is free, else the process that listens there ('' when that is not visible)."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except PermissionError:
            return "the system (a privileged port)"
        except OSError:
            return _listener(port)
    return None


def _listener(port: int) -> str:
    try:
        answer = subprocess.run(
            ["ss", "--no-header", "--listening", "--tcp", "--numeric", "--processes", "sport", "=", f":{port}"],
            capture_output=True,
            text=True,
            timeout=10,
            check=False,
        ).stdout
    except (OSError, subprocess.TimeoutExpired):
        return ""
    for line in answer.splitlines():
        if 'users:(("' in line:
            program, _, rest = line.partition('users:(("')[2].partition('"')
            pid = rest.partition("pid=")[2].partition(",")[0]
            return f"{program} (process {pid})"
    return ""
