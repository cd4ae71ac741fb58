"""Carries out the compute driver's plan: EC2 instance records become systemd containers, and stay in step with them."""

import logging
import subprocess
import time
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from lab.aws import BASE_IMAGE_ID
from lab.driver import metadata
from lab.driver.cloud import Cloud, Group, Records
from lab.driver.compute import Act, Action, Instance, Retries, Running, plan, unhealthy
from lab.driver.hosts import HOST_OPTIONS
from lab.driver.metadata_server import MetadataServer
from lab.machine.errors import LabError
from lab.machine.names import ACCOUNT, REGION, Lab, mac_address
from lab.machine.podman import Container, Podman

log = logging.getLogger(__name__)

INSTANCE_LABEL = "parkmesh.instance"
STOP_S = 10
COMMIT_TIMEOUT_S = 300


class Instances:
    """The lab's instances.

    Args:
        base_image: the local image behind the public base AMI.
        target_states: what the load balancers measured last for an instance, one word per target group.
        prepare_network: gives a container (its first process's pid) what AWS's network has for the instance: its way
            out and the rules of its security groups.
    """

    def __init__(
        self,
        lab: Lab,
        podman: Podman,
        cloud: Cloud,
        base_image: str,
        target_states: Callable[[str], Iterable[str]],
        prepare_network: Callable[[Instance, int], None],
    ) -> None:
        self.lab, self.podman, self.cloud, self.base_image = lab, podman, cloud, base_image
        self.target_states, self.prepare_network = target_states, prepare_network
        self._created: dict[str, float] = {}
        self._stopped: set[str] = set()
        self._suspects: set[str] = set()
        self._servers: dict[str, MetadataServer] = {}
        self._removals = ThreadPoolExecutor(max_workers=4, thread_name_prefix="removal")
        self._leaving: set[str] = set()
        self._retries = Retries()
        self.problems: dict[str, str] = {}

    def container(self, instance_id: str) -> str:
        return self.lab.thing(instance_id)

    def tick(
        self,
        records: Records,
        containers: Iterable[Container],
        endpoints: Mapping[str, str],
        failed_zones: frozenset[str],
    ) -> bool:
        """One round. `endpoints` are names that instances resolve (database endpoint → address).

        Returns:
            whether containers were created, started, stopped or removed.
        """
        present = {
            container.labels[INSTANCE_LABEL]: Running(
                container.labels[INSTANCE_LABEL], container.running, container.pid if container.running else 0
            )
            for container in containers
            if INSTANCE_LABEL in container.labels
        }
        self._drop_servers(present)
        leaving = set(self._leaving)
        by_id = {instance.id: instance for instance in records.instances}
        for known in set(self.problems) - set(by_id):
            del self.problems[known]
        checked = frozenset(member for group in records.groups if group.checks_targets for member in group.members)
        actions = plan(
            records.instances,
            present.values(),
            frozenset(self._created),
            frozenset(self._stopped),
            failed_zones,
            checked,
        )
        # One that is back at the next look was restarted, not lost.
        dead = {action.instance_id for action in actions if action.act is Act.DIED}
        suspects, self._suspects = self._suspects, dead
        certain = [action for action in actions if action.act is not Act.DIED or action.instance_id in suspects]
        done = [self._try(action, by_id, endpoints) for action in certain]
        self._follow_endpoints(present, endpoints)
        if not dead and not any(action.act is not Act.REMOVE for action in certain):
            self._serve_metadata(by_id, present)
            self._give_up_unhealthy(by_id, records.groups)
        return any(done) or bool(dead or leaving)

    def _follow_endpoints(self, present: Mapping[str, Running], endpoints: Mapping[str, str]) -> None:
        """Names of databases lead to where their primaries are now."""
        for instance_id, container in present.items():
            path = Path(f"/proc/{container.pid}/root/etc/hosts")
            try:
                text = path.read_text()
                if (wanted := hosts_file(text, endpoints)) != text:
                    # In place: the container has this very file mounted.
                    with path.open("r+") as file:
                        file.write(wanted)
                        file.truncate()
                    log.info("%s resolves the databases' names anew", instance_id)
            except OSError:
                # One that has just ended is looked at again when its container is.
                continue

    def image_created(self, image_id: str, instance_id: str) -> None:
        """CreateImage: the container's file system becomes the image of the AMI before the call returns.

        Raises:
            LabError: there is no container of this instance, or the commit failed.
        """
        name = self.container(instance_id)
        if not self.podman.exists("container", name):
            raise LabError(f"{instance_id} has no container to make {image_id} from")
        self.podman.run(
            "commit",
            "--quiet",
            f"--change=LABEL={self.lab.label}",
            f"--change=LABEL=parkmesh.ami={image_id}",
            name,
            self.lab.image(image_id),
            timeout=COMMIT_TIMEOUT_S,
        )
        log.info("image %s committed from %s", image_id, instance_id)

    def remove_stale_images(self, now: float) -> None:
        """Deregistered AMIs lose their local image once nothing runs from it."""
        known = self.cloud.images()
        used = {row["ImageID"] for row in self.podman.json("ps", "--all")}
        for row in self.podman.json("images", "--filter", f"label={self.lab.label}"):
            names = [name for name in row.get("Names") or [] if name.startswith(self.lab.image(""))]
            # An image of the last minutes may belong to a CreateImage whose answer isn't out yet.
            if not names or now - float(row["Created"]) < 300 or row["Id"] in used:
                continue
            for name in names:
                if name.rpartition(":")[2] not in known:
                    self.podman.run("rmi", name)
                    log.info("image %s removed: its AMI is deregistered", name)

    def close(self) -> None:
        self._removals.shutdown(wait=False, cancel_futures=True)
        for server in self._servers.values():
            server.close()
        self._servers.clear()

    def _try(self, action: Action, by_id: Mapping[str, Instance], endpoints: Mapping[str, str]) -> bool:
        now = time.monotonic()
        if not self._retries.due(action.instance_id, now):
            return False
        try:
            self._carry_out(action, by_id.get(action.instance_id), endpoints)
        except Exception as error:  # noqa: BLE001 (one instance's failure must not stop the others)
            self._retries.failed(action.instance_id, now)
            if self.problems.get(action.instance_id) != str(error):
                self.problems[action.instance_id] = str(error)
                log.error("%s: %s failed: %s", action.instance_id, action.act.value, error)
            return False
        self._retries.succeeded(action.instance_id)
        self.problems.pop(action.instance_id, None)
        return True

    def _carry_out(self, action: Action, instance: Instance | None, endpoints: Mapping[str, str]) -> None:
        name = self.container(action.instance_id)
        if action.act is Act.REMOVE:
            if action.instance_id not in self._leaving:
                self._leaving.add(action.instance_id)
                self._removals.submit(self._remove, action.instance_id)
            return
        assert instance is not None  # plan() names unknown ids for removal only
        match action.act:
            case Act.CREATE:
                self._create(instance, endpoints)
            case Act.START:
                self._start(instance)
                self._stopped.discard(instance.id)
            case Act.STOP:
                self._forget(instance.id)
                self.podman.run("stop", f"--time={STOP_S}", name)
                self._stopped.add(instance.id)
                self._created.setdefault(instance.id, time.monotonic())
                log.info("%s stopped", instance.id)
            case Act.KILL:
                self._forget(instance.id)
                self.podman.run("kill", name)
                log.warning("%s is dead: %s has failed", instance.id, instance.zone)
            case Act.DIED:
                self._died(instance)

    def _remove(self, instance_id: str) -> None:
        """Shut a host down and remove it, beside the loop: its services may take their time to end in order."""
        try:
            self.podman.run(
                "rm", "--force", f"--time={STOP_S}", "--volumes", self.container(instance_id), timeout=STOP_S + 60
            )
            log.info("%s removed: its record is terminated or unknown", instance_id)
        except LabError as error:
            log.error("%s: remove failed, tried again: %s", instance_id, error)
        finally:
            self._forget(instance_id)
            self._leaving.discard(instance_id)

    def _create(self, instance: Instance, endpoints: Mapping[str, str]) -> None:
        image = self._image(instance.image_id)
        if instance.address is None:
            raise LabError("its record has no private address")
        name = self.container(instance.id)
        # What an interrupted attempt left is in the way and holds the address.
        self.podman.run("rm", "--force", "--time=0", "--ignore", name)
        self.podman.run(
            "create",
            f"--name={name}",
            f"--hostname={instance.hostname.partition('.')[0] or instance.id}",
            f"--label={self.lab.label}",
            f"--label={INSTANCE_LABEL}={instance.id}",
            f"--network={self.lab.thing('vpc')}",
            f"--ip={instance.address}",
            f"--mac-address={mac_address(self.lab.id, instance.id)}",
            *(f"--add-host={host}:{address}" for host, address in sorted(endpoints.items())),
            *HOST_OPTIONS,
            image,
            "/sbin/init",
        )
        self._start(instance)
        self._created[instance.id] = time.monotonic()
        log.info("%s started from %s at %s (%s)", instance.id, instance.image_id, instance.address, instance.zone)

    def _start(self, instance: Instance) -> None:
        """Start a container with its metadata endpoint, its kernel settings and its network in place before its first
        process runs."""
        name = self.container(instance.id)
        self.podman.run("init", name)
        pid = int(self.podman.run("inspect", "--format={{.State.Pid}}", name))
        self._serve(instance, pid)
        _own_network_settings(pid)
        self.prepare_network(instance, pid)
        self.podman.run("start", name)

    def _image(self, ami_id: str) -> str:
        if ami_id == BASE_IMAGE_ID:
            return self.base_image
        image = self.lab.image(ami_id)
        if not self.podman.exists("image", image):
            raise LabError(f"no local image for {ami_id}: it is neither the base AMI nor one made in this lab")
        return image

    def _died(self, instance: Instance) -> None:
        self._forget(instance.id)
        self._created.pop(instance.id, None)
        if instance.group:
            log.warning("%s died: group %s replaces it", instance.id, instance.group)
            self.cloud.lost(instance.id)
        else:
            log.warning("%s has shut down: its record follows", instance.id)
            if self.cloud.powered_off(instance.id):
                self._stopped.add(instance.id)

    def _forget(self, instance_id: str) -> None:
        if server := self._servers.pop(instance_id, None):
            server.close()

    def _drop_servers(self, present: Mapping[str, Running]) -> None:
        for instance_id, server in list(self._servers.items()):
            container = present.get(instance_id)
            if container is None or container.pid != server.pid:
                self._forget(instance_id)

    def _serve_metadata(self, by_id: Mapping[str, Instance], present: Mapping[str, Running]) -> None:
        """Endpoints for containers that were restarted by hand, and fresh tags for all."""
        for instance_id, container in present.items():
            instance = by_id.get(instance_id)
            if instance is None or not container.running or instance.state != "running":
                continue
            server = self._servers.get(instance_id)
            try:
                if server is None:
                    self._serve(instance, container.pid)
                elif (server.metadata.facts.tags, server.metadata.facts.target_state) != (
                    dict(instance.tags),
                    instance.target_state,
                ):
                    server.metadata.facts = self._facts(instance)
            except Exception as error:  # noqa: BLE001 (one instance's failure must not stop the others)
                self.problems[instance_id] = str(error)

    def _serve(self, instance: Instance, pid: int) -> None:
        self._forget(instance.id)
        self._servers[instance.id] = MetadataServer(pid, self._facts(instance))

    def _facts(self, instance: Instance) -> metadata.Facts:
        return metadata.Facts(
            instance_id=instance.id,
            image_id=instance.image_id,
            instance_type=instance.instance_type,
            address=instance.address or "",
            hostname=instance.hostname,
            mac=mac_address(self.lab.id, instance.id),
            zone=instance.zone,
            region=REGION,
            account=ACCOUNT,
            user_data=self.cloud.user_data(instance.id),
            tags=dict(instance.tags),
            role=self._role(instance),
            launched=instance.launched,
            target_state=instance.target_state,
        )

    def _role(self, instance: Instance) -> metadata.Role | None:
        if instance.profile_arn is None or (found := self.cloud.role(instance.profile_arn)) is None:
            return None
        profile_id, name, arn = found
        return metadata.Role(instance.profile_arn, profile_id, name, Credentials(self.cloud, arn, instance.id))

    def _give_up_unhealthy(self, by_id: Mapping[str, Instance], groups: Iterable[Group]) -> None:
        for group in groups:
            for instance_id in group.in_service:
                created = self._created.get(instance_id)
                if created is None or instance_id not in by_id:
                    continue
                age = time.monotonic() - created
                if unhealthy(group.checks_targets, age, group.grace_s, self.target_states(instance_id)):
                    log.warning("%s fails its target's health check: group %s replaces it", instance_id, group.name)
                    self.cloud.give_up(instance_id)


def hosts_file(text: str, endpoints: Mapping[str, str]) -> str:
    """A file as /etc/hosts with other addresses for the names that it has of ``endpoints``."""
    lines = []
    for line in text.splitlines(keepends=True):
        address, *names = line.split() or [""]
        now = next((endpoints[name] for name in names if name in endpoints), address)
        lines.append(line if now == address else f"{now}\t{' '.join(names)}\n")
    return "".join(lines)


def _own_network_settings(pid: int) -> None:
    """Let an instance set the kernel's settings of its own network, as on a machine of its own; others stay read-only.

    Raises:
        LabError: the container's mount namespace refuses it.
    """
    settings = "/proc/sys/net"
    for options in (["--bind", settings, settings], ["-o", "remount,bind,rw", settings]):
        done = subprocess.run(
            ["nsenter", f"--mount=/proc/{pid}/ns/mnt", "mount", *options],
            capture_output=True,
            text=True,
            timeout=10,
            check=False,
        )
        if done.returncode:
            raise LabError(f"no writable {settings} for process {pid}: {done.stderr.strip()}")


class Credentials:
    """An instance's role credentials in the form of IMDS, renewed ten minutes before they end."""

    RENEW_BEFORE_S = 600

    def __init__(self, cloud: Cloud, role_arn: str, instance_id: str) -> None:
        self._cloud, self._role_arn, self._instance_id = cloud, role_arn, instance_id
        self._current: Mapping[str, Any] | None = None

    def __call__(self) -> Mapping[str, str]:
        if self._current is None or self._current["Expiration"].timestamp() - time.time() < self.RENEW_BEFORE_S:
            self._current = self._cloud.credentials(self._role_arn, self._instance_id)
            self._updated = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        return {
            "Code": "Success",
            "LastUpdated": self._updated,
            "Type": "AWS-HMAC",
            "AccessKeyId": self._current["AccessKeyId"],
            "SecretAccessKey": self._current["SecretAccessKey"],
            "Token": self._current["SessionToken"],
            "Expiration": self._current["Expiration"].strftime("%Y-%m-%dT%H:%M:%SZ"),
        }
