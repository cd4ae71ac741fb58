"""The lab's background process waits for changes: while nothing happens it reads no records and lists no containers."""

import sys
import threading
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from moto.core.responses import BaseResponse

from lab.driver import daemon
from lab.driver.activity import Activity, ContainerEvents
from lab.driver.cloud import Records
from lab.driver.daemon import Driver
from lab.machine import names
from lab.machine.podman import Container, Podman

HOST = Container("1", "host", True, 1, "image")


class Asked:
    """Stands in for the AWS API and for podman, and counts what the driver asks of them."""

    def __init__(self) -> None:
        self.records = self.containers = 0
        self.found = [HOST]

    def read(self, failed_zones: frozenset[str]) -> Records:
        self.records += 1
        return Records((), (), {}, (), {}, (), {})

    def list(self, label: str) -> list[Container]:
        self.containers += 1
        return self.found


@pytest.fixture
def asked() -> Asked:
    return Asked()


@pytest.fixture
def activity() -> Activity:
    return Activity()


@pytest.fixture
def driver(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, asked: Asked, activity: Activity) -> Driver:
    lab = names.from_environment({}, tmp_path)
    lab.state.mkdir(parents=True)
    podman = Podman()
    monkeypatch.setattr(podman, "containers", asked.list)
    facts = {"image": "image", "networks": {"vpc": {"gateway": "10.80.0.1"}}, "metric_period_s": 60}
    made = Driver(lab, podman, facts, activity)
    monkeypatch.setattr(made.cloud, "records", asked.read)
    monkeypatch.setattr(made.internet, "apply", lambda records: None)
    return made


def test_while_nothing_happens_nothing_is_asked(driver: Driver, asked: Asked) -> None:
    for _ in range(50):
        driver.tick()
    assert (asked.records, asked.containers) == (1, 1)
    assert driver.rest_s() == daemon.SAFETY_S


def test_a_request_that_wrote_and_a_container_that_moved_are_looked_at(
    driver: Driver, asked: Asked, activity: Activity
) -> None:
    driver.tick()
    activity.acted()
    assert activity.changed.is_set()
    driver.tick()
    assert (asked.records, asked.containers) == (2, 1)
    activity.moved()
    driver.tick()
    assert (asked.records, asked.containers) == (2, 2)


@pytest.mark.parametrize(
    ("service", "action", "noted"),
    [
        ("ec2", "RunInstances", 1),
        ("ec2", "DescribeInstances", 0),
        ("ec2", None, 1),
        ("dynamodb", "Scan", 0),
        ("cloudwatch", "PutMetricData", 0),
    ],
)
def test_a_request_is_noted_if_it_may_have_changed_what_containers_follow(
    monkeypatch: pytest.MonkeyPatch, activity: Activity, service: str, action: str | None, noted: int
) -> None:
    monkeypatch.setattr(BaseResponse, "call_action", lambda _: "answer")
    activity.watch_requests()
    request = SimpleNamespace(service_name=service, _get_action=lambda: action)
    assert BaseResponse.call_action(request) == "answer"
    assert activity.records == noted


def test_a_known_process_that_is_gone_is_noticed_without_an_event(driver: Driver, asked: Asked) -> None:
    asked.found = [Container("1", "host", True, 2**22 + 1, "image")]  # above the kernel's largest process id
    driver.tick()
    driver.tick()
    assert asked.containers == 2


def test_what_nobody_noted_is_found_after_a_while(
    driver: Driver, asked: Asked, monkeypatch: pytest.MonkeyPatch
) -> None:
    driver.tick()
    monkeypatch.setattr(daemon, "SAFETY_S", -1.0)
    driver.tick()
    assert (asked.records, asked.containers) == (2, 2)


def test_a_failed_look_is_tried_again_soon(driver: Driver, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: Any) -> Any:
        raise OSError("not now")

    monkeypatch.setattr(driver.cloud, "records", fails)
    driver.tick()
    assert driver.rest_s() == daemon.TICK_S


def test_events_are_followed_until_the_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / "podman"
    program.write_text(f"#!{sys.executable}\nimport time\nprint('start', flush=True)\ntime.sleep(60)\n")
    program.chmod(0o755)
    noted, enough = [], threading.Event()

    def note() -> None:
        noted.append(time.monotonic())
        if len(noted) == 2:  # one as listening begins, one for the event
            enough.set()

    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    events = ContainerEvents(Podman(), "parkmesh.lab=x", note)
    assert enough.wait(10)
    events.close()
    assert events._process is not None
    assert events._process.wait(10) != 0
