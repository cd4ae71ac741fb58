"""The lab's static hosts and networks: what exists from `up` to `down`, whatever the playbooks do."""

import json
import re
import subprocess
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network
from typing import Any

from lab.machine import subnets
from lab.machine.errors import LabError
from lab.machine.names import Lab, mac_address
from lab.machine.podman import Podman, PodmanError

BOOT_TIMEOUT_S = 90
# What a systemd host with an overlay interface needs, and no more: found by leaving out one after the other.
HOST_OPTIONS = ("--cap-add=NET_ADMIN,NET_RAW,SYS_ADMIN", "--device=/dev/net/tun", "--systemd=always", "--tty")


@dataclass(frozen=True)
class Host:
    """A static host: its name, its network and its place in that network."""

    name: str
    network: str
    number: int


HOSTS = (
    Host("overlay", "core", 10),
    Host("ops", "core", 20),
    Host("gateway-a", "site-a", 10),
    Host("devices-a", "site-a", 20),
    Host("gateway-b", "site-b", 10),
    Host("devices-b", "site-b", 20),
)
# Shell: a container that was just started has no systemd to talk to for a moment, on a busy machine for some seconds.
AWAIT_SYSTEMD = """for i in $(seq 300); do [ -S /run/systemd/private ] && break; sleep 0.1; done
systemctl is-system-running --wait >/dev/null || true"""
# A bridge exists only while a container is on it, and lab.aws listens on the VPC's gateway address.
ANCHOR = "vpc-anchor"
COLOUR = re.compile(r"\x1b\[[0-9;]*m")


def routes_in_use() -> list[IPv4Network]:
    """Networks that the host routes anywhere, without default routes."""
    answer = subprocess.run(
        ["ip", "-json", "-4", "route", "show", "table", "all"], capture_output=True, text=True, timeout=10, check=True
    ).stdout
    found = []
    for route in json.loads(answer or "[]"):
        destination = route.get("dst", "default")
        if destination != "default":
            found.append(IPv4Network(destination, strict=False))
    return found


def podman_networks(podman: Podman) -> dict[str, IPv4Network]:
    """All IPv4 podman networks on this machine by name."""
    rows = podman.json("network", "ls")
    found = {}
    for row in rows:
        for subnet in row.get("subnets") or []:
            if ":" not in subnet["subnet"]:
                found[row["name"]] = IPv4Network(subnet["subnet"])
    return found


def plan_networks(lab: Lab, podman: Podman, recorded: dict[str, Any] | None) -> dict[str, IPv4Network]:
    """The lab's networks: those it has already, else those it recorded, else a free choice."""
    existing = podman_networks(podman)
    if recorded:
        return {name: IPv4Network(network["subnet"]) for name, network in recorded.items()}
    names = ("vpc", *subnets.SMALL)
    ours = {name: existing[lab.thing(name)] for name in names if lab.thing(name) in existing}
    if len(ours) == len(names):
        return ours
    routed = [network for network in routes_in_use() if network not in ours.values()]
    others = [network for name, network in existing.items() if not name.startswith(lab.prefix)]
    # Routes of a bridge that is ours already are no obstacle to ourselves.
    foreign = [network for network in routed if not any(network.subnet_of(mine) for mine in ours.values())]
    chosen = subnets.choose(lab.id, [*foreign, *others])
    return {**chosen, **ours}


def ensure_networks(lab: Lab, podman: Podman, networks: dict[str, IPv4Network]) -> None:
    existing = podman_networks(podman)
    for name, network in networks.items():
        if lab.thing(name) in existing:
            continue
        podman.run(
            "network",
            "create",
            f"--label={lab.label}",
            f"--subnet={network}",
            f"--gateway={subnets.gateway(network)}",
            lab.thing(name),
        )


def address(host: Host, networks: dict[str, IPv4Network]) -> IPv4Address:
    return networks[host.network][host.number]


def ensure_hosts(lab: Lab, podman: Podman, image: str, networks: dict[str, IPv4Network]) -> list[str]:
    """Create or start every static host; returns the names of those that were not running."""
    present = {container.name: container for container in podman.containers(lab.label)}
    begun = []
    if (anchor := present.get(lab.thing(ANCHOR))) is None:
        podman.run(
            "run",
            "--detach",
            f"--name={lab.thing(ANCHOR)}",
            f"--label={lab.label}",
            f"--network={lab.thing('vpc')}",
            f"--ip={subnets.last_free(networks['vpc'], [])}",
            "--stop-signal=SIGKILL",
            image,
            "/bin/sleep",
            "infinity",
        )
    elif not anchor.running:
        podman.run("start", anchor.name)
    for host in HOSTS:
        container = present.get(lab.thing(host.name))
        if container is not None and container.running:
            continue
        begun.append(host.name)
        if container is not None:
            podman.run("start", container.name)
            continue
        podman.run(
            "run",
            "--detach",
            f"--name={lab.thing(host.name)}",
            f"--hostname={host.name}",
            f"--label={lab.label}",
            f"--network={lab.thing(host.network)}",
            f"--ip={address(host, networks)}",
            f"--mac-address={mac_address(lab.id, host.name)}",
            *HOST_OPTIONS,
            image,
            "/sbin/init",
        )
    return begun


def await_boot(podman: Podman, container: str) -> None:
    """Wait until systemd in a container has started everything.

    Raises:
        LabError: a unit failed, or it took longer than BOOT_TIMEOUT_S.
    """
    script = (
        f"{AWAIT_SYSTEMD}\n"
        "systemctl is-system-running || true\n"
        "systemctl list-units --state=failed --plain --no-legend | cut -d' ' -f1\n"
    )
    try:
        answer = podman.shell(container, script, timeout=BOOT_TIMEOUT_S).split()
    except PodmanError as error:
        raise LabError(f"{container} did not boot: {error}{_last_words(podman, container)}") from error
    state, failed = (answer[0], answer[1:]) if answer else ("unknown", [])
    if state != "running":
        raise LabError(f"{container} booted to {state!r}; failed units: {', '.join(failed) or 'none'}")


def _last_words(podman: Podman, container: str) -> str:
    """What a container wrote on its console before it ended, as the end of a message; empty when there is nothing."""
    try:
        lines = podman.run("logs", "--tail=3", container).split("\n")
    except PodmanError:
        return ""
    said = " / ".join(text for line in lines if (text := COLOUR.sub("", line).strip()))
    return f"; its console: {said}" if said else ""


def authorise_key(podman: Podman, container: str, public_key: str) -> None:
    """Let the lab's key in by SSH, as a provider does on a machine that it hands over."""
    script = (
        "install -d -m 0700 /root/.ssh\n"
        f"cat > /root/.ssh/authorized_keys <<'KEY'\n{public_key.strip()}\nKEY\n"
        "chmod 0600 /root/.ssh/authorized_keys\n"
        "systemctl enable --now --quiet ssh.service\n"
    )
    podman.shell(container, script)
