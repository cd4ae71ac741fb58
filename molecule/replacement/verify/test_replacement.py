"""New hardware takes a dead gateway's place, and a gateway goes to another community: each by one command."""

import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from running_lab import ROOT, Lab, connects, eventually

COMMUNITY_C = ROOT / "molecule/onboarding/communities"
OF_B, OF_C = "9876MNP", "2468KLM"


def drive(lab: Lab, plate: str, camera: str, outcome: str) -> None:
    done = lab.simulate("devices-b", "car", plate, "--camera", camera, "--expect", outcome)
    assert done.returncode == 0, done.stdout + done.stderr


def all_sent(lab: Lab) -> bool:
    return bool(lab.gateway_status("gateway-b")["backlog"] == 0)


def node_at(lab: Lab, address: str) -> list[str]:
    """The overlay's authorised members that have an address."""
    (network,) = lab.controller("GET", "")
    found = [lab.controller("GET", f"/{network}/member/{each}") for each in lab.controller("GET", f"/{network}/member")]
    return [member["id"] for member in found if member["authorized"] and address in member["ipAssignments"]]


def changed(said: str) -> set[str]:
    return set(re.findall(r"^\S+ +: ok=\d+ +changed=(\d+)", said, re.MULTILINE))


@pytest.fixture(scope="module")
def dead(lab: Lab) -> list[str]:
    """Gateway b, whose hardware died with a record that it couldn't send; new hardware stands in its place.

    Returns its former node.
    """
    drive(lab, OF_B, "cam-main-in", "opened")
    eventually(lambda: all_sent(lab), 60, "the passage is with the servers")
    nodes = node_at(lab, "10.242.1.2")
    assert lab.run("gateway-b", "systemctl", "stop", "zerotier-one").returncode == 0
    drive(lab, "0000ZZZ", "cam-main-in", "closed")
    eventually(lambda: lab.gateway_status("gateway-b")["backlog"] > 0, 30, "a record that waits")
    lab.podman("rm", "--force", "--time=0", str(lab.facts["hosts"]["gateway-b"]["container"]))
    # Where a host is missing, this brings another machine with nothing on it.
    for command in (("lab", "up"), ("tests.warm_python.hosts", "gateway-b")):
        subprocess.run([sys.executable, "-m", *command], cwd=ROOT, check=True, capture_output=True, timeout=300)
    return nodes


def test_new_hardware_takes_the_place_of_one_that_died(lab: Lab, dead: list[str]) -> None:
    said = lab.play("replace-gateway", community="b")
    assert "gateway-b is well on node" in said
    assert "What it held is lost, and the desk shows the loss" in " ".join(said.split())
    (node,) = node_at(lab, "10.242.1.2")
    assert [node] != dead
    drive(lab, OF_B, "cam-main-in", "opened")
    drive(lab, "0000ZZZ", "cam-main-in", "closed")
    eventually(lambda: all_sent(lab), 60, "the passages are with the servers")


def test_a_second_run_replaces_nothing(lab: Lab, dead: list[str]) -> None:
    said = lab.play("replace-gateway", community="b")
    assert "This run replaced nothing" in said
    assert changed(said) == {"0"}, said


@pytest.fixture
def with_c(monkeypatch: pytest.MonkeyPatch) -> None:
    """The inventory with community c, to which gateway b belongs now."""
    monkeypatch.setenv("PARKMESH_COMMUNITIES", str(COMMUNITY_C))


def test_a_gateway_goes_to_another_community_with_nothing_of_the_former(
    lab: Lab, with_c: None, host: Callable[[str], Any], tmp_path: Path
) -> None:
    said = lab.play("apply-communities")
    assert "Run playbooks/move-gateway.yml -e gateway=gateway-b after this" in " ".join(said.split())
    drive(lab, OF_B, "cam-main-in", "opened")
    said = " ".join(lab.play("move-gateway", gateway="gateway-b").split())
    assert "gateway-b goes from community b to c" in said
    assert "Nothing of b is on it any more, and all its records are at the servers" in said
    lab.play("install-simulators")
    assert node_at(lab, "10.242.1.2") == []
    assert connects(lab, "ops", "10.242.1.3", 22)
    drive(lab, OF_C, "cam-in", "opened")
    drive(lab, OF_B, "cam-in", "closed")
    eventually(lambda: all_sent(lab), 60, "the passages are with the servers")
    kept = host("gateway-b").run(f"grep --recursive --files-with-matches --text {OF_B} /var/lib/parkmesh /etc/parkmesh")
    # What cam-in has just read is a record of community c.
    assert [name for name in kept.stdout.split() if "spool" not in name] == []


def test_a_second_run_moves_nothing(lab: Lab, with_c: None) -> None:
    said = lab.play("move-gateway", gateway="gateway-b")
    assert "stays in community c" in said
    assert changed(said) == {"0"}, said
