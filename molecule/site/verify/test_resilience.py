"""What dies is replaced and nothing is lost: servers, the line to the centre, the group's size."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from playwright.sync_api import Page
from running_lab import GROUP, Lab, eventually


def passages(desk: Page, lab: Lab, plate: str) -> int:
    """How many passages of a plate the application has, by its API."""
    answer = desk.request.get(f"{lab.url}/api/v1/communities/a/passages")
    assert answer.ok, answer.text()
    return sum(passage["plate"] == plate for passage in answer.json()["items"])


@pytest.fixture
def offline_gateway(lab: Lab) -> Iterator[str]:
    """gateway-a with its line to the centre cut."""
    assert lab.run("gateway-a", "systemctl", "stop", "zerotier-one").returncode == 0
    yield "gateway-a"
    assert lab.run("gateway-a", "systemctl", "start", "zerotier-one").returncode == 0


def test_a_gate_opens_while_the_line_is_down_and_the_passage_arrives_afterwards(
    lab: Lab, desk: Page, offline_gateway: str
) -> None:
    plate = "4321JKL"
    before = passages(desk, lab, plate)
    done = lab.simulate("devices-a", "car", plate, "--expect", "opened")
    assert done.returncode == 0, done.stdout + done.stderr
    assert lab.gateway_status(offline_gateway)["backlog"] > 0
    assert passages(desk, lab, plate) == before
    assert lab.run(offline_gateway, "systemctl", "start", "zerotier-one").returncode == 0
    eventually(lambda: passages(desk, lab, plate) == before + 1, 90, "the passage arrived once the line was back")
    eventually(lambda: lab.gateway_status(offline_gateway)["backlog"] == 0, 30, "the backlog is empty")
    assert passages(desk, lab, plate) == before + 1


def test_a_killed_app_server_is_replaced_and_no_passage_is_lost(lab: Lab, desk: Page) -> None:
    plate = "8888YYY"
    before = passages(desk, lab, plate)
    servers = lab.app_servers()
    victim, container = next(iter(servers.items()))
    lab.podman("kill", "--signal", "KILL", container)
    done = lab.simulate("devices-a", "car", plate, "--expect", "closed")
    assert done.returncode == 0, done.stdout + done.stderr
    eventually(
        lambda: (
            (now := lab.app_servers()) and victim not in now and lab.healthy_targets() == set(now) and len(now) == 2
        ),
        120,
        "another server took its place and is healthy",
    )
    eventually(lambda: passages(desk, lab, plate) == before + 1, 60, "the passage arrived exactly once")


def test_raising_the_desired_capacity_starts_another_server(lab: Lab, host: Callable[[str], Any]) -> None:
    group = GROUP
    scaling = lab.client("autoscaling")
    try:
        scaling.set_desired_capacity(AutoScalingGroupName=group, DesiredCapacity=3)
        eventually(lambda: len(lab.app_servers()) == 3 and len(lab.healthy_targets()) == 3, 120, "three serve")
        slots = {
            host(container).check_output("ip -4 -o address show to 10.242.0.0/16").split()[3]
            for container in lab.app_servers().values()
        }
        assert len(slots) == 3
    finally:
        scaling.set_desired_capacity(AutoScalingGroupName=group, DesiredCapacity=2)
    eventually(lambda: len(lab.app_servers()) == 2 and len(lab.healthy_targets()) == 2, 120, "two serve again")
