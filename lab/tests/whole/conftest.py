"""The lab that several files of this folder share: started once, taken down at the end. Needs root and podman."""

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import boto3
import pytest
from xdist.scheduler import LoadFileScheduling

from lab.driver.hosts import AWAIT_SYSTEMD
from lab.machine.podman import Podman

ROOT = Path(__file__).resolve().parents[3]

FIRST = "labone"
SHARING = {"test_closed_ports.py", "test_encrypted.py", "test_lab.py", "test_two_zones.py", "test_way_out.py"}
"""The files whose tests use ``lab``."""
PATIENCE_S = 90

T = TypeVar("T")


def run(lab: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PARKMESH_LAB": lab}
    for variable in ("ZEROTIER_PACKAGE", "LAB_HTTP_PORT", "LAB_AWS_PORT"):
        environment.pop(variable, None)
    return subprocess.run(
        [sys.executable, "-m", "lab", *arguments],
        env=environment,
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )


def eventually(look: Callable[[], T], what: str) -> T:
    """The first true answer of `look`; fails when none comes."""
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline:
        if answer := look():
            return answer
        time.sleep(0.3)
    log = ROOT / ".lab" / FIRST / "daemon.log"
    tail = "\n".join(log.read_text().splitlines()[-20:]) if log.exists() else "no log"
    pytest.fail(f"waited {PATIENCE_S} s for {what}\n{tail}")


class RunningLab:
    """A lab that is up: its facts, podman, and its AWS API."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.facts: dict[str, Any] = json.loads((ROOT / ".lab" / name / "lab.json").read_text())
        conf = self.facts["containers_conf"]
        self.podman = Podman({**os.environ, **({"CONTAINERS_CONF": conf} if conf else {})})

    def client(self, service: str) -> Any:
        return boto3.client(
            service,
            endpoint_url=self.facts["aws_endpoint_url"],
            region_name=self.facts["region"],
            aws_access_key_id="test",
            aws_secret_access_key="test",
        )

    def container(self, thing: str) -> str:
        return f"{self.facts['prefix']}{thing}"

    def running(self, thing: str) -> bool:
        name = self.container(thing)
        rows = self.podman.containers(f"parkmesh.lab={self.facts['id']}")
        return any(row.name == name and row.running for row in rows)

    def await_systemd(self, thing: str) -> None:
        """Wait until an instance's container runs and its systemd has begun and started all that it starts.

        Whoever calls systemctl earlier meets no bus: "Failed to connect to system scope bus".
        """
        eventually(lambda: self.running(thing), f"{thing}'s container")
        self.shell(thing, AWAIT_SYSTEMD)

    def shell(self, thing: str, script: str) -> str:
        return self.podman.shell(self.container(thing), script)

    def vpc_in_two_zones(self, first: int) -> tuple[str, list[str]]:
        """Make a VPC, and a subnet in each of zones a and b, with this and the next number as their third byte."""
        ec2, start = self.client("ec2"), self.facts["vpc_cidr"].rsplit(".", 2)[0]
        vpc = ec2.create_vpc(CidrBlock=self.facts["vpc_cidr"])["Vpc"]["VpcId"]
        made = [
            ec2.create_subnet(VpcId=vpc, CidrBlock=f"{start}.{number}.0/24", AvailabilityZone=f"eu-west-1{zone}")
            for number, zone in enumerate("ab", first)
        ]
        return str(vpc), [str(each["Subnet"]["SubnetId"]) for each in made]

    def await_gone(self, *things: str) -> None:
        """Wait until nothing is left of hosts whose records were deleted: tests after these count what there is."""
        names = [self.container(thing) for thing in things]
        eventually(lambda: not any(self.podman.exists("container", name) for name in names), f"the end of {things}")

    def members(self) -> list[str]:
        """Instances of the group whose containers answer."""
        group = self.client("autoscaling").describe_auto_scaling_groups(AutoScalingGroupNames=["app"])
        ids = [row["InstanceId"] for row in group["AutoScalingGroups"][0]["Instances"]]
        return [instance_id for instance_id in ids if self.running(instance_id)]


@pytest.fixture(scope="session")
def lab() -> Iterator[RunningLab]:
    if os.geteuid() != 0 or shutil.which("podman") is None:
        pytest.skip("the lab needs root and podman")
    run(FIRST, "down")
    done = run(FIRST, "up")
    try:
        assert done.returncode == 0, done.stderr
        yield RunningLab(FIRST)
    finally:
        assert run(FIRST, "down").returncode == 0


class ByLab(LoadFileScheduling):  # type: ignore[misc]
    """The tests of a file stay on one worker, and so do the files that share the lab."""

    def _split_scope(self, nodeid: str) -> str:
        file = super()._split_scope(nodeid)
        return FIRST if Path(file).name in SHARING else file


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> ByLab:
    return ByLab(config, log)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with what takes longest, so that two workers end together."""
    items.sort(key=lambda item: item.path.name not in SHARING)
