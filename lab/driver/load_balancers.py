"""ELB: each application load balancer has an HAProxy container in the VPC; the first is published on loopback."""

import logging
import socket
import time
from collections.abc import Iterable, Mapping
from ipaddress import IPv4Address, IPv4Network
from typing import Any

from lab.driver import haproxy
from lab.driver.cloud import Balancer, Cloud, Records
from lab.driver.compute import Retries
from lab.driver.hosts import AWAIT_SYSTEMD, HOST_OPTIONS
from lab.machine.errors import LabError
from lab.machine.names import Lab, mac_address
from lab.machine.podman import Container, Podman
from lab.machine.subnets import last_free

log = logging.getLogger(__name__)

BALANCER_LABEL = "parkmesh.balancer"
LISTENER_LABEL = "parkmesh.listener"
ADDRESS_LABEL = "parkmesh.address"
SOCKET_TIMEOUT_S = 5.0


class LoadBalancers:
    """The lab's load balancers, and the health that they measure."""

    def __init__(self, lab: Lab, podman: Podman, cloud: Cloud, image: str) -> None:
        self.lab, self.podman, self.cloud, self.image = lab, podman, cloud, image
        self._verdicts: dict[str, haproxy.Verdicts] = {}
        self._applied: dict[str, tuple[str, dict[str, str], int]] = {}
        self._health: dict[tuple[str, str], haproxy.Health] = {}
        self._status: list[dict[str, Any]] = []
        self._answered: dict[tuple[str, str, str], int] = {}
        self._requests: dict[str, int] = {}
        self._retries = Retries()
        self._problems: dict[str, str] = {}

    def container(self, name: str) -> str:
        return self.lab.thing(f"lb-{name}")

    def target_health(self, group_arn: str, target_id: str, port: int) -> haproxy.Health:
        """For DescribeTargetHealth, from memory: what was measured, and of a newcomer that it is being registered."""
        return self._health.get((group_arn, target_id), haproxy.REGISTERING)

    def states_of(self, target_id: str) -> set[str]:
        return {health[0] for (_, target), health in list(self._health.items()) if target == target_id}

    def requests(self, target_id: str) -> int:
        """How many requests a target has answered, for whichever load balancer."""
        return self._requests.get(target_id, 0)

    def status(self) -> list[dict[str, Any]]:
        return self._status

    def tick(self, records: Records, containers: Iterable[Container], in_use: set[str]) -> bool:
        """One round; `in_use` are addresses that instances have. Returns whether containers changed."""
        containers = list(containers)
        present = {c.labels[BALANCER_LABEL]: c for c in containers if BALANCER_LABEL in c.labels}
        self._register(records)
        for name, reason in records.refused.items():
            self._note(name, reason)
        changed = False
        for name in sorted(set(present) - {record.config.name for record in records.balancers}):
            self._remove(name)
            changed = True
        taken = in_use | {c.labels[ADDRESS_LABEL] for c in containers if ADDRESS_LABEL in c.labels}
        health: dict[tuple[str, str], haproxy.Health] = {}
        status = []
        for record in records.balancers:
            name = record.config.name
            container = present.get(name)
            try:
                address = container.labels[ADDRESS_LABEL] if container else _address(record, records.subnets, taken)
            except LabError as error:
                self._note(name, str(error))
                continue
            taken.add(address)
            changed |= self._try(record, container, address)
            health |= self._measure(record, container)
            status.append(
                {
                    "name": name,
                    "address": address,
                    "ports": [listener.port for listener in record.config.listeners],
                    "url": f"{_front(record).protocol}://127.0.0.1:{self.lab.http_port}" if record.published else None,
                    "problem": self._problems.get(name),
                }
            )
        self._health, self._status = health, status
        return changed

    def _register(self, records: Records) -> None:
        """Instances in service are targets of their group's target groups; those that left are not.

        EC2 Auto Scaling user guide, 'Use Elastic Load Balancing to distribute incoming application traffic': the group
        registers what it launches and deregisters what it terminates.
        """
        states = {instance.id: instance.state for instance in records.instances}
        for group in records.groups:
            wanted = {member for member in group.in_service if states.get(member) == "running"}
            for arn in group.target_groups:
                if (registered := records.registered.get(arn)) is None:
                    continue
                self.cloud.register(arn, sorted(wanted - registered))
                # Targets that were registered by hand stay; the group's own and the dead go.
                gone = {target for target in registered if target.startswith("i-") and target not in wanted}
                left = {target for target in gone if target in group.members or states.get(target) != "running"}
                self.cloud.deregister(arn, sorted(left))

    def _try(self, record: Balancer, container: Container | None, address: str) -> bool:
        name, now = record.config.name, time.monotonic()
        if not self._retries.due(name, now):
            return False
        changed = False
        try:
            port = str(_front(record).port) if record.published else ""
            if container is not None and container.labels.get(LISTENER_LABEL, "") != port:
                # A published port is fixed when a container is made.
                self._remove(name)
                container = None
            if container is None:
                self._create(record, address, port)
                return True
            if not container.running:
                self.podman.run("start", container.name)
                return True
            changed = self._configure(record, container)
        except LabError as error:
            self._retries.failed(name, now)
            self._note(name, str(error))
            return True
        self._retries.succeeded(name)
        self._problems.pop(name, None)
        return changed

    def _note(self, name: str, problem: str) -> None:
        if self._problems.get(name) != problem:
            self._problems[name] = problem
            log.error("load balancer %s: %s", name, problem)

    def _create(self, record: Balancer, address: str, port: str) -> None:
        name = record.config.name
        publish = [f"--publish=127.0.0.1:{self.lab.http_port}:{port}/tcp"] if port else []
        self.podman.run("rm", "--force", "--time=0", "--ignore", self.container(name))
        self.podman.run(
            "run",
            "--detach",
            f"--name={self.container(name)}",
            f"--hostname=lb-{name}",
            f"--label={self.lab.label}",
            f"--label={BALANCER_LABEL}={name}",
            f"--label={LISTENER_LABEL}={port}",
            f"--label={ADDRESS_LABEL}={address}",
            f"--network={self.lab.thing('vpc')}",
            f"--ip={address}",
            f"--mac-address={mac_address(self.lab.id, 'lb-' + name)}",
            *publish,
            *HOST_OPTIONS,
            self.image,
            "/sbin/init",
        )
        log.info("load balancer %s started at %s", name, address)

    def _configure(self, record: Balancer, container: Container) -> bool:
        """Bring HAProxy to the recorded configuration, keeping connections and what it knows of its servers."""
        name = record.config.name
        if self._applied.get(name, ("", {}, 0))[2] != container.pid:
            # A new HAProxy has checked no target yet.
            self._verdicts[name] = haproxy.Verdicts()
        proven = self._verdicts.setdefault(name, haproxy.Verdicts()).proven
        text = haproxy.config(record.config, frozenset(proven))
        secrets = haproxy.certificate_files(record.config)
        if self._applied.get(name) == (text, secrets, container.pid):
            return False
        try:
            current = ask(container.pid, "show servers state")
        except OSError:
            current = ""
        states = haproxy.server_states(record.config, current)
        written = "".join(
            f"install -m 0600 /dev/null {path}\ncat > {path} <<'END-OF-FILE'\n{pem}\nEND-OF-FILE\n"
            for path, pem in secrets.items()
        )
        # No line of these files can be the mark: names in them are checked words, and the rest is ours.
        self.podman.shell(
            container.name,
            f"{AWAIT_SYSTEMD}\n"
            f"{written}"
            f"cat > {haproxy.STATE_FILE} <<'END-OF-FILE'\n{states}END-OF-FILE\n"
            f"cat > /etc/haproxy/next.cfg <<'END-OF-FILE'\n{text}END-OF-FILE\n"
            "haproxy -c -q -f /etc/haproxy/next.cfg\n"
            "mv /etc/haproxy/next.cfg /etc/haproxy/haproxy.cfg\n"
            "systemctl enable --quiet haproxy.service\n"
            "systemctl reload-or-restart haproxy.service\n",
        )
        self._applied[name] = (text, secrets, container.pid)
        log.info("load balancer %s configured", name)
        return False

    def _measure(self, record: Balancer, container: Container | None) -> dict[tuple[str, str], haproxy.Health]:
        arns = {group.name: group.arn for group in record.config.groups}
        try:
            if container is None or not container.running:
                raise OSError("no load balancer to ask")
            counters = haproxy.measured(ask(container.pid, "show stat"))
        except OSError:
            # While the load balancer itself starts nothing is measured; that says nothing about the targets.
            keys = [(group.arn, target.id) for group in record.config.groups for target in group.targets]
            return {key: self._health.get(key, haproxy.REGISTERING) for key in keys}
        self._count(record.config.name, counters)
        verdicts = self._verdicts.setdefault(record.config.name, haproxy.Verdicts())
        judged = verdicts.judge(record.config.groups, counters, time.monotonic())
        return {(arns[group], target): health for (group, target), health in judged.items()}

    def _count(self, name: str, counters: Mapping[tuple[str, str], haproxy.Measured]) -> None:
        """Add up answers. An HAProxy that was reloaded begins at zero."""
        for (group, target), counter in counters.items():
            before = self._answered.get((name, group, target), 0)
            self._answered[name, group, target] = counter.answered
            more = counter.answered - before if counter.answered >= before else counter.answered
            self._requests[target] = self._requests.get(target, 0) + more

    def _remove(self, name: str) -> None:
        self.podman.run("rm", "--force", "--time=0", "--ignore", self.container(name))
        self._applied.pop(name, None)
        self._verdicts.pop(name, None)
        self._problems.pop(name, None)
        self._retries.succeeded(name)
        log.info("load balancer %s removed", name)


def _front(record: Balancer) -> haproxy.Listener:
    """The listener that people on this machine reach: the encrypted one, if there is one."""
    return next((each for each in record.config.listeners if each.certificate), record.config.listeners[0])


def _address(record: Balancer, subnets: Mapping[str, str], taken: set[str]) -> str:
    for subnet_id in record.subnet_ids:
        if subnet_id in subnets:
            return str(last_free(IPv4Network(subnets[subnet_id]), [IPv4Address(address) for address in taken]))
    raise LabError(f"load balancer {record.config.name}: it is in no subnet of the VPC")


def ask(pid: int, command: str) -> str:
    """One command to the HAProxy inside the container whose init has this pid, through its own file system."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.settimeout(SOCKET_TIMEOUT_S)
        connection.connect(f"/proc/{pid}/root{haproxy.SOCKET}")
        connection.sendall(command.encode() + b"\n")
        parts = []
        while part := connection.recv(65536):
            parts.append(part)
    return b"".join(parts).decode()
