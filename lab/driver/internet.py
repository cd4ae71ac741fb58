"""Carries out the plan of ``routing``: default routes of the lab's instances, and rules on the lab's machine."""

import logging
import subprocess
from collections.abc import Mapping
from ipaddress import IPv4Network
from pathlib import Path
from typing import Any

from lab.driver import routing
from lab.driver.cloud import Records
from lab.driver.compute import Instance
from lab.machine import packet_rules
from lab.machine.errors import LabError
from lab.machine.names import Lab
from lab.machine.podman import Podman

log = logging.getLogger(__name__)

VPC = "vpc"
TIMEOUT_S = 10
# /sys/class/net/*/addr_assign_type: whoever set it, the kernel leaves it alone (NET_ADDR_SET in linux/netdevice.h).
ADDRESS_SET = "3"


class Internet:
    """What is between the lab's VPC and its other networks."""

    def __init__(self, lab: Lab, podman: Podman, networks: Mapping[str, Mapping[str, Any]]) -> None:
        self.lab, self._podman, self._networks = lab, podman, networks
        self._router = networks[VPC]["gateway"]
        self._bridges: Mapping[str, str] = {}
        self._instances: Mapping[str, Instance] = {}
        self._ways = routing.Ways()
        self._rules = ""
        self._routes: dict[int, str] = {}

    def apply(self, records: Records) -> None:
        """Make the rules those of the records.

        Raises:
            LabError: they were refused; the next call tries again.
        """
        if not self._bridges:
            rows = self._podman.json("network", "inspect", *(each["name"] for each in self._networks.values()))
            self._bridges = {row["name"]: row["network_interface"] for row in rows}
        self._instances, self._ways = {instance.id: instance for instance in records.instances}, records.ways
        rules = routing.ruleset(
            packet_rules.table_name(self.lab),
            self._site(VPC),
            [self._site(name) for name in self._networks if name != VPC],
            records.ways,
            records.subnets,
            records.instances,
        )
        if rules != self._rules:
            self._rules = ""
            packet_rules.load(rules)
            self._rules = rules

    def follow(self, processes: Mapping[str, int]) -> None:
        """Give each instance the default route of its subnet.

        Args:
            processes: instance id → pid of the first process of its running container.

        Raises:
            LabError: a route was refused; the next call tries again.
        """
        self._routes = {pid: hop for pid, hop in self._routes.items() if pid in processes.values()}
        for instance_id, pid in processes.items():
            if instance := self._instances.get(instance_id):
                self.route(instance, pid)

    def route(self, instance: Instance, pid: int) -> None:
        """As ``follow``, for one instance."""
        hop = routing.default_route(instance, self._ways.of, self._instances, self._router)
        if self._routes.get(pid, self._router) == hop:
            return
        words = ["blackhole", "default"] if hop == routing.BLACK_HOLE else ["default", "via", hop]
        _run("nsenter", f"--net=/proc/{pid}/ns/net", "ip", "-4", "route", "replace", *words)
        self._routes[pid] = hop
        log.info("%s goes out by %s", instance.id, hop)

    def _site(self, name: str) -> routing.Site:
        bridge = self._bridges[self._networks[name]["name"]]
        return routing.Site(str(IPv4Network(self._networks[name]["subnet"])), bridge, _fixed_mac(bridge))


def _fixed_mac(bridge: str) -> str:
    """The MAC address of a bridge, which from now on doesn't change with the containers on it."""
    folder = Path("/sys/class/net") / bridge
    try:
        mac = (folder / "address").read_text().strip()
        if (folder / "addr_assign_type").read_text().strip() != ADDRESS_SET:
            _run("ip", "link", "set", "dev", bridge, "address", mac)
    except FileNotFoundError:
        # Every host of a network may be stopped. The rule then matches nothing.
        return "00:00:00:00:00:00"
    return mac


def _run(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT_S, check=False)
    if done.returncode:
        raise LabError(f"{command[0]}: {(done.stderr.strip() or 'no output').splitlines()[0]}")
