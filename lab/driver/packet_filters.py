"""Carries out the plan of ``security_groups``: rules in the network namespace of each host that stands for something of
AWS. An instance has them before its first process runs, and all follow the records."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from lab.driver import security_groups
from lab.driver.cloud import Records
from lab.driver.databases import DATABASE_LABEL
from lab.driver.instances import INSTANCE_LABEL
from lab.driver.load_balancers import ADDRESS_LABEL, BALANCER_LABEL
from lab.machine.errors import LabError
from lab.machine.packet_rules import OwnedTable
from lab.machine.podman import Container


@dataclass(frozen=True)
class Interface:
    """What AWS calls a network interface: its address, its groups, and the pid of its host's first process, 0 while the
    host doesn't run."""

    address: str
    groups: tuple[str, ...]
    pid: int


def interfaces(records: Records, containers: Iterable[Container]) -> list[Interface]:
    """The interfaces of all hosts that the records know. Those of instances count from the moment of their record."""
    pids = {
        (label, container.labels[label]): container.pid if container.running else 0
        for container in containers
        for label in (INSTANCE_LABEL, DATABASE_LABEL, BALANCER_LABEL)
        if label in container.labels
    }
    addresses = {
        (label, container.labels[label]): container.labels[ADDRESS_LABEL]
        for container in containers
        for label in (DATABASE_LABEL, BALANCER_LABEL)
        if label in container.labels
    }
    found = [
        Interface(each.address, each.security_groups, pids.get((INSTANCE_LABEL, each.id), 0))
        for each in records.instances
        if each.address and each.state in ("pending", "running")
    ]
    services = [
        *(((DATABASE_LABEL, each.identifier), each.security_groups) for each in records.databases),
        *(((BALANCER_LABEL, each.config.name), each.security_groups) for each in records.balancers),
    ]
    return found + [Interface(addresses[key], groups, pids[key]) for key, groups in services if key in addresses]


class PacketFilters:
    """The rules of the lab's hosts.

    Args:
        router: the address of the lab's machine in the VPC.
        aws_port: where the AWS API answers there.
    """

    def __init__(self, router: str, aws_port: int) -> None:
        self._router, self._aws_port = router, aws_port
        self._groups: Mapping[str, security_groups.SecurityGroup] = {}
        self._members: Mapping[str, frozenset[str]] = {}
        self._tables: dict[int, OwnedTable] = {}
        self._loaded: dict[int, str] = {}

    def follow(self, groups: Mapping[str, security_groups.SecurityGroup], there: Iterable[Interface]) -> None:
        """Take over groups and interfaces, and give each host that runs the rules of its groups.

        Raises:
            LabError: some were refused; the next call tries again.
        """
        there = list(there)
        held: dict[str, set[str]] = {}
        for interface in there:
            for name in interface.groups:
                held.setdefault(name, set()).add(interface.address)
        self._groups, self._members = groups, {name: frozenset(found) for name, found in held.items()}
        for pid in [each for each, table in self._tables.items() if not table.is_there()]:
            self._tables.pop(pid).close()
            self._loaded.pop(pid, None)
        problems = []
        for interface in there:
            # One that has just ended is looked at again when its container is.
            if interface.pid and Path(f"/proc/{interface.pid}").exists():
                try:
                    self.apply(interface.pid, interface.groups)
                except LabError as error:
                    problems.append(str(error))
        if problems:
            raise LabError("; ".join(problems))

    def apply(self, pid: int, names: Iterable[str]) -> None:
        """As ``follow``, for one host, with what is known already."""
        rules = security_groups.ruleset(names, self._groups, self._members, self._router, self._aws_port)
        if self._loaded.get(pid) == rules:
            return
        if pid not in self._tables:
            self._tables[pid] = OwnedTable(pid)
        self._tables[pid].load(rules)
        self._loaded[pid] = rules

    def close(self) -> None:
        for table in self._tables.values():
            table.close()
        self._tables.clear()
        self._loaded.clear()
