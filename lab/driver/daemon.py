"""The lab's background process: its AWS API (lab.aws), its mail server (lab.mail), and the driver that makes the
AWS API's records come true in containers.

The loop waits until something may have changed (``activity``), and while there is health to measure or work to do it
looks once a second. Records are read and containers listed only when they may be others than before.
"""

import json
import logging
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

from lab import aws
from lab.aws import zones
from lab.aws.scaling import Tracking
from lab.driver.activity import Activity, ContainerEvents
from lab.driver.cloud import Cloud, Records
from lab.driver.compute import Instance
from lab.driver.databases import Databases
from lab.driver.instances import INSTANCE_LABEL, Instances
from lab.driver.internet import Internet
from lab.driver.load_balancers import LoadBalancers
from lab.driver.load_figures import Periods, busy_s
from lab.driver.packet_filters import PacketFilters, interfaces
from lab.machine import state
from lab.machine.authority import Authority
from lab.machine.names import MAIL_PORT, Lab
from lab.machine.podman import Container, Podman
from lab.mail.server import MailServer

log = logging.getLogger(__name__)

TICK_S = 1.0
COALESCE_S = 0.1
"""How long changes that come together are waited for."""
SAFETY_S = 60.0
"""After this time everything is looked at, whether or not a change was noted."""
HOUSEKEEPING_S = 60.0

T = TypeVar("T")
U = TypeVar("U")


def run(lab: Lab) -> None:
    """Serve until SIGTERM."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s", stream=sys.stderr)
    for noisy in ("botocore", "boto3", "urllib3", "werkzeug", "mail.log"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
    facts = state.require(lab)
    ended = threading.Event()
    activity = Activity()

    def end(*_: object) -> None:
        ended.set()
        activity.changed.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, end)
    signal.signal(signal.SIGHUP, lambda *_: activity.acted())
    activity.watch_requests()
    podman = Podman()
    driver = Driver(lab, podman, facts, activity)
    events = ContainerEvents(podman, lab.label, activity.moved)
    aws.hooks.acted = activity.acted
    aws.hooks.image_created = driver.instances.image_created
    aws.hooks.snapshot_created = driver.databases.snapshot_created
    aws.hooks.target_health = driver.balancers.target_health
    aws.hooks.sign = Authority(lab.state / "ca.pem", lab.secrets / "ca-key.pem", f"parkmesh lab {lab.id}").sign
    aws.hooks.instances_act = True
    gateway = facts["networks"]["vpc"]["gateway"]
    server = aws.serve([("127.0.0.1", lab.aws_port), (gateway, lab.aws_port)])
    mail = MailServer(gateway, MAIL_PORT, lab.mails)
    log.info("lab.aws answers on %s and %s", facts["aws_endpoint_url"], facts["aws_endpoint_url_instances"])
    try:
        while not ended.is_set():
            activity.changed.clear()
            driver.tick()
            activity.changed.wait(driver.rest_s())
            ended.wait(COALESCE_S)
    finally:
        events.close()
        driver.close()
        server.shutdown()
        mail.shutdown()
        log.info("ended")


class Driver:
    """Round after round: rules first, so that nobody finds a way that AWS hasn't; databases, so that instances know
    their names; load balancers before instances, so that a host gets no new request while it shuts down."""

    def __init__(self, lab: Lab, podman: Podman, facts: dict[str, Any], activity: Activity) -> None:
        self.lab, self.podman, self.activity = lab, podman, activity
        self.cloud = Cloud(lab.aws_endpoint_url)
        self.databases = Databases(lab, podman, facts["image"])
        self.balancers = LoadBalancers(lab, podman, self.cloud, facts["image"])
        self.internet = Internet(lab, podman, facts["networks"])
        self.filters = PacketFilters(facts["networks"]["vpc"]["gateway"], lab.aws_port)
        self.instances = Instances(
            lab, podman, self.cloud, facts["image"], self.balancers.states_of, self._prepare_network
        )
        self._tracking, self._periods = Tracking(), Periods(facts["metric_period_s"])
        self._containers: list[Container] = []
        self._listed = 0.0
        self._containers_seen = -1
        self._records: Records | None = None
        self._read_at = 0.0
        self._records_seen = 0
        self._stale = True
        self._kept_house = time.monotonic()
        self._failures: dict[str, str] = {}
        self._status = ""
        self._failed_zones: frozenset[str] = frozenset()
        self._unsettled = False

    def tick(self) -> None:
        self._attempt("zones", self._follow_zones, None)
        containers = self._attempt("containers", self._list, None)
        if containers is None:
            return
        if (records := self._read()) is None:
            return
        in_use = {
            instance.address for instance in records.instances if instance.address and instance.state != "terminated"
        }
        self._attempt("internet", lambda: self.internet.apply(records), None)
        there = interfaces(records, containers)
        self._attempt("security groups", lambda: self.filters.follow(records.security_groups, there), None)
        changed = self._attempt(
            "databases", lambda: self.databases.tick(records, containers, in_use, self._failed_zones), False
        )
        changed |= self._attempt("load balancers", lambda: self.balancers.tick(records, containers, in_use), False)
        changed |= self._attempt(
            "compute",
            lambda: self.instances.tick(records, containers, self.databases.endpoints, self._failed_zones),
            False,
        )
        processes = {c.labels[INSTANCE_LABEL]: c.pid for c in containers if c.running and INSTANCE_LABEL in c.labels}
        self._attempt("routes", lambda: self.internet.follow(processes), None)
        self._attempt("scaling", lambda: self._scale(processes), None)
        self._stale |= changed
        if time.monotonic() - self._kept_house > HOUSEKEEPING_S:
            self._kept_house = time.monotonic()
            self._attempt("images", lambda: self.instances.remove_stale_images(time.time()), None)
        self._write_status([instance for instance in records.instances if instance.state != "terminated"])

    def rest_s(self) -> float:
        """How long nothing needs to be done unless something changes."""
        busy = self._stale or self._failures or self.instances.problems
        records = self._records
        there = records and (records.balancers or records.instances or records.databases)
        return TICK_S if busy or there else SAFETY_S

    def close(self) -> None:
        self.instances.close()
        self.filters.close()

    def _prepare_network(self, instance: Instance, pid: int) -> None:
        self.internet.route(instance, pid)
        self.filters.apply(pid, instance.security_groups)

    def _scale(self, processes: dict[str, int]) -> None:
        """At the end of each period of metrics, have groups follow their targets. ``processes``: instance id → pid."""
        if not self._periods.over(now := time.monotonic()):
            return
        counters = {}
        for instance, pid in processes.items():
            with suppress(OSError):
                counters[instance] = busy_s(pid), self.balancers.requests(instance)
        for group, (before, after) in self._tracking.follow(self._periods.close(counters, now), now).items():
            log.info("group %s follows its load: %d instances, it had %d", group, after, before)

    def _follow_zones(self) -> None:
        """Take over which zones have failed, and have groups make up for them, also when they are back."""
        failed = state.failed_zones(self.lab)
        if failed != self._failed_zones:
            log.warning("failed zones: %s", ", ".join(sorted(failed)) or "none")
            aws.hooks.failed_zones = self._failed_zones = failed
            self._unsettled = True
            self.activity.acted()
        if failed or self._unsettled:
            self._unsettled = zones.settle()
            if self._unsettled:
                self.activity.acted()

    def _read(self) -> Records | None:
        """The records: read again when they may have changed."""
        count, now = self.activity.records, time.monotonic()
        if self._records is None or count != self._records_seen or now - self._read_at > SAFETY_S:
            self._records = self._attempt("records", lambda: self.cloud.records(self._failed_zones), None)
            self._records_seen, self._read_at = count, now
        return self._records

    def _list(self) -> list[Container]:
        now, count = time.monotonic(), self.activity.containers
        gone = any(container.running and not Path(f"/proc/{container.pid}").exists() for container in self._containers)
        if self._stale or gone or count != self._containers_seen or now - self._listed > SAFETY_S:
            self._containers = self.podman.containers(self.lab.label)
            self._listed, self._stale, self._containers_seen = now, False, count
        return self._containers

    def _attempt(self, part: str, work: Callable[[], T], otherwise: U) -> T | U:
        """One part's failure is logged once, with its cause, and doesn't stop the others."""
        try:
            result = work()
        except Exception as error:
            text = f"{type(error).__name__}: {error}"
            if self._failures.get(part) != text:
                self._failures[part] = text
                log.exception("%s: %s", part, error)
            self._stale = True
            return otherwise
        if self._failures.pop(part, None) is not None:
            log.info("%s: works again", part)
        return result

    def _write_status(self, instances: list[Any]) -> None:
        """daemon.json: what the driver sees, for `status`; its presence says that the driver works."""
        running = {c.labels.get(INSTANCE_LABEL): c.running for c in self._containers}
        status = json.dumps(
            {
                "pid": os.getpid(),
                "instances": [
                    {
                        "id": instance.id,
                        "state": instance.state,
                        "image": instance.image_id,
                        "address": instance.address,
                        "zone": instance.zone,
                        "group": instance.group,
                        "name": instance.tags.get("Name"),
                        "container": self.instances.container(instance.id) if instance.id in running else None,
                        "running": running.get(instance.id, False),
                        "targets": sorted(self.balancers.states_of(instance.id)),
                    }
                    for instance in instances
                ],
                "databases": self.databases.status(),
                "load_balancers": self.balancers.status(),
                "failed_zones": sorted(self._failed_zones),
                "problems": {**self._failures, **self.instances.problems},
            },
            indent=2,
        )
        if status != self._status:
            path = self.lab.state / "daemon.json"
            temporary = path.with_suffix(".new")
            temporary.write_text(status + "\n")
            temporary.replace(path)
            self._status = status
