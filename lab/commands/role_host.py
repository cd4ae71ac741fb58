"""`host-up` and `host-down`: one host of its own for a molecule scenario. The rest of its lab needn't be up.

The host is a container that boots systemd and is reached by SSH, as hosts in production are (and four times as fast as
by `podman exec`). What a scenario needs to know is in `.lab/<lab>/<scenario>.json`: its address, its key, the package
of ZeroTier that the lab would choose; beside it is what was on the host before any role came.
"""

import fcntl
import os
import platform
import re
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from lab.driver import hosts
from lab.machine import engine, inotify, state
from lab.machine.base_image import BaseImage
from lab.machine.errors import LabError
from lab.machine.names import Lab, mac_address
from lab.machine.podman import Podman
from lab.machine.progress import say, step
from lab.zerotier_package import choice

# The Python of each Debian, for which releases of the application are built.
PYTHON = {"trixie": "3.13", "bookworm": "3.11"}
# Roles take lists of packages as fresh for a day.
LISTS_MAX_AGE_S = 20 * 3600
LISTS_TIMEOUT_S = 300
CACHED = {"lists": "/var/lib/apt/lists", "cache": "/var/cache/apt"}
LISTING = (
    "find /etc /opt /srv /usr/local /home /var/lib /var/cache/zerotier-one.deb /run/parkmesh -xdev 2>/dev/null || true"
)
ACCOUNTS = "cut -d: -f1 /etc/passwd /etc/group"


def up(lab: Lab, name: str) -> dict[str, Any]:
    """Make the host of a scenario anew and return what is written about it.

    Raises:
        LabError: with the one line that says what is wrong.
    """
    if not re.fullmatch(r"[a-z][a-z0-9_]{0,40}", name):
        raise LabError(f"{name!r} is no scenario's name")
    begun = time.monotonic()
    if raised := inotify.raise_limit():
        say(raised)
    podman, _ = engine.podman_for(lab)
    image = BaseImage(lab, podman)
    with _alone(lab):
        image.ensure()
        state.ensure_secrets(lab)
        overlay = choice.choose(lab, {**os.environ, "ZEROTIER_PACKAGE": ""}, {"kind": "lab"})
        lists = package_lists(lab, podman, image.name)
    container = lab.thing(name)
    podman.run("rm", "--force", "--time=0", "--ignore", container)
    podman.run(
        "run",
        "--detach",
        f"--name={container}",
        f"--hostname={name.replace('_', '-')}",
        f"--label={lab.label}",
        f"--mac-address={mac_address(lab.id, name)}",
        # Each host writes to a layer of its own above the one copy.
        *(f"--volume={lists / folder}:{path}:O" for folder, path in CACHED.items()),
        # A host may not turn it on by itself where it is a container.
        "--sysctl=net.ipv4.ip_forward=1",
        *hosts.HOST_OPTIONS,
        image.name,
        "/sbin/init",
    )
    hosts.await_boot(podman, container)
    hosts.authorise_key(podman, container, (lab.secrets / "ssh_key.pub").read_text())
    inside = "{{.NetworkSettings.IPAddress}} {{.NetworkSettings.Gateway}}"
    address, control_node = podman.run("inspect", f"--format={inside}", container).split()
    facts = {
        "container": container,
        "address": address,
        "control_node": control_node,
        "ssh_key": str(lab.secrets / "ssh_key"),
        "python": PYTHON[lab.suite],
        "debian": lab.suite,
        "arch": platform.machine(),
        "zerotier_package": overlay["package"],
        "controller_token": str(lab.secrets / "controller-authtoken"),
        "folder": str(lab.state / name),
    }
    before = {
        "files": podman.shell(container, LISTING).splitlines(),
        "accounts": podman.shell(container, ACCOUNTS).split(),
    }
    shutil.rmtree(lab.state / name, ignore_errors=True)
    (lab.state / name).mkdir()
    # Apart: Ansible reads the facts several times a task.
    state.save(lab.state / f"{name}-before.json", before)
    state.save(lab.state / f"{name}.json", facts)
    say(f"{container} is up at {address}, Debian {lab.suite} ({time.monotonic() - begun:.1f} s)")
    return facts


def down(lab: Lab, name: str) -> None:
    """Remove the host of a scenario and what is written about it."""
    podman, _ = engine.podman_for(lab)
    podman.run("rm", "--force", "--time=0", "--volumes", "--ignore", lab.thing(name))
    shutil.rmtree(lab.state / name, ignore_errors=True)
    for written in (f"{name}.json", f"{name}-before.json"):
        (lab.state / written).unlink(missing_ok=True)


def package_lists(lab: Lab, podman: Podman, image: str) -> Path:
    """The folder with the suite's lists of packages, fetched once in a while for all hosts of scenarios."""
    folder = lab.cache / f"apt-{lab.suite}"
    stamp = folder / "fetched"
    if stamp.exists() and time.time() - stamp.stat().st_mtime < LISTS_MAX_AGE_S:
        return folder
    with step("fetching Debian's lists of packages"):
        for name in CACHED:
            (folder / name).mkdir(parents=True, exist_ok=True)
        volumes = [f"--volume={folder / name}:{path}" for name, path in CACHED.items()]
        script = "apt-get update --quiet --quiet && apt-cache policy >/dev/null"
        podman.run(
            *("run", "--rm", "--network=host", f"--label={lab.label}", *volumes, image, "/bin/sh", "-c", script),
            timeout=LISTS_TIMEOUT_S,
        )
        stamp.touch()
    return folder


@contextmanager
def _alone(lab: Lab) -> Iterator[None]:
    """Scenarios that start side by side make what they share once."""
    lab.state.mkdir(mode=0o755, parents=True, exist_ok=True)
    with (lab.state.parent / f"{lab.name}.hosts.lock").open("w") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
