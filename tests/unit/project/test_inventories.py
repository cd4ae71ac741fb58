"""The example of a production inventory is one that Ansible takes, with every playbook."""

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[3]
PLAYBOOKS = sorted(path for path in (ROOT / "playbooks").glob("*.yml"))


def ansible(*command: str) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("ZEROTIER_")}
    return subprocess.run(
        command, cwd=ROOT, env=environment, check=False, capture_output=True, text=True, stdin=subprocess.DEVNULL
    )


@pytest.fixture(scope="module")
def production() -> dict[str, Any]:
    done = ansible("ansible-inventory", "-i", "inventory/production", "--list")
    assert done.returncode == 0, done.stderr
    listed: dict[str, Any] = json.loads(done.stdout)
    return listed


def test_production_lists_and_says_that_it_could_not_ask_for_members(production: dict[str, Any]) -> None:
    assert production["gateways"]["hosts"] == ["gateway-riverside-1"]
    warned = ansible("ansible-inventory", "-i", "inventory/production", "--graph").stderr
    assert "ZEROTIER_TOKEN" in warned


def test_gateways_belong_to_communities_that_exist_and_use_their_gates_and_spaces(production: dict[str, Any]) -> None:
    for host in production["gateways"]["hosts"]:
        variables = production["_meta"]["hostvars"][host]
        community = next(c for c in variables["communities"] if c["name"] == variables["parking_gateway_community"])
        gates = {gate["name"] for gate in community["gates"]}
        assert {gate["name"] for gate in variables["parking_gateway_gates"]} <= gates
        assert {camera["gate"] for camera in variables["parking_gateway_cameras"]} <= gates
        assert {s["space"] for s in variables["parking_gateway_sensors"]} <= {s["name"] for s in community["spaces"]}


@pytest.mark.parametrize("playbook", PLAYBOOKS, ids=lambda path: path.name)
def test_playbook_is_accepted_with_the_production_inventory(playbook: Path) -> None:
    done = ansible("ansible-playbook", "--syntax-check", "-i", "inventory/production", str(playbook))
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("playbook", PLAYBOOKS, ids=lambda path: path.name)
def test_playbook_opens_with_what_it_does_and_an_example(playbook: Path) -> None:
    head = [line for line in playbook.read_text().splitlines() if line.startswith("#")]
    assert head
    assert any("Example:" in line for line in head)
