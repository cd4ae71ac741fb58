"""A new release comes to all gateways: by a roll to those that are online, to the others when their line is back."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from running_lab import Lab, eventually

from lab.drills import releases

CAR = "1234BCD"


@pytest.fixture(scope="module")
def next_release(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The project as its next release has it, with the lab of this one."""
    copy = releases.copy(tmp_path_factory.mktemp("release") / "project")
    with (copy / "app/src/parkmesh/__init__.py").open("a") as module:
        module.write("# The next release.\n")
    return copy


@pytest.fixture
def offline_gateway(lab: Lab) -> Iterator[str]:
    """gateway-a with its line to the centre cut."""
    assert lab.run("gateway-a", "systemctl", "stop", "zerotier-one").returncode == 0
    yield "gateway-a"
    assert lab.run("gateway-a", "systemctl", "start", "zerotier-one").returncode == 0


def release(lab: Lab, gateway: str) -> str:
    return lab.run(gateway, "readlink", "--canonicalize", "/opt/parkmesh/current").stdout.strip()


def test_a_gateway_that_was_offline_in_a_roll_takes_the_release_when_its_line_is_back(
    lab: Lab, next_release: Path, offline_gateway: str
) -> None:
    first = release(lab, offline_gateway)
    assert release(lab, "gateway-b") == first
    said = lab.play("roll-gateways", project=next_release, roll_wait_s=5)
    assert "offline and left out: gateway-a" in said
    newest = release(lab, "gateway-b")
    assert newest != first
    assert release(lab, offline_gateway) == first
    said = lab.play("publish-gateway-release", project=next_release, publish_gateways=offline_gateway)
    assert "for 1 gateways" in said
    done = lab.simulate("devices-a", "car", CAR, "--expect", "opened")
    assert done.returncode == 0, done.stdout + done.stderr
    assert lab.run(offline_gateway, "systemctl", "start", "zerotier-one").returncode == 0
    eventually(lambda: release(lab, offline_gateway) == newest, 300, "the gateway has taken the release")
    eventually(lambda: lab.gateway_status(offline_gateway)["backlog"] == 0, 60, "its records are with the servers")
    done = lab.simulate("devices-a", "car", CAR, "--expect", "opened")
    assert done.returncode == 0, done.stdout + done.stderr
