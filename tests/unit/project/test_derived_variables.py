"""playbooks/group_vars: what follows from the rules and the inventory, and how AWS is reached."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[3]
ANSIBLE = str(Path(sys.executable).with_name("ansible"))
SECRET = "emulated-secret-key"


def ansible(folder: Path, variables: dict[str, Any], *command: str) -> subprocess.CompletedProcess[str]:
    inventory = folder / "inventory.yml"
    everything = {"ansible_connection": "local", "ansible_python_interpreter": sys.executable, **variables}
    groups = {"aws": {"hosts": {"control-node": None}}, "gateways": {"hosts": {"gateway": None}}}
    inventory.write_text(yaml.safe_dump({"all": {"vars": everything, "children": groups}}))
    return subprocess.run(
        [ANSIBLE, "-i", str(inventory), "--playbook-dir", "playbooks", *command],
        cwd=ROOT,
        env={**os.environ, "ANSIBLE_NOCOLOR": "1", "ANSIBLE_CALLBACK_RESULT_FORMAT": "json"},
        capture_output=True,
        text=True,
        check=False,
    )


def value(folder: Path, name: str, **variables: object) -> Any:
    done = ansible(folder, variables, "gateway", "--module-name=ansible.builtin.debug", f"--args=var={name}")
    assert done.returncode == 0, done.stdout + done.stderr
    return json.loads(done.stdout.partition("=>")[2])[name]


@pytest.mark.parametrize(
    ("service", "addresses"),
    [
        ({"aws_service_instances_max": 2}, ["10.9.0.11", "10.9.0.12", "10.9.0.13"]),
        ({"aws_service_instances_max": 1}, ["10.9.0.11", "10.9.0.12"]),
        ({"aws_service_instances_max": 2, "aws_service_surge_percent": 100}, [f"10.9.0.1{n}" for n in (1, 2, 3, 4)]),
    ],
)
def test_there_is_a_slot_for_every_server_and_for_those_of_a_roll(
    tmp_path: Path, service: dict[str, int], addresses: list[str]
) -> None:
    slots = value(tmp_path, "overlay_slots", overlay_cidr="10.9.0.0/24", **service)
    assert slots == [{"slot": number, "ip": address} for number, address in enumerate(addresses, start=1)]


def test_the_service_s_own_defaults_count_where_the_inventory_says_nothing(tmp_path: Path) -> None:
    defaults = yaml.safe_load((ROOT / "roles/aws_service/defaults/main.yml").read_text())
    slots = value(tmp_path, "overlay_slots", overlay_cidr="10.9.0.0/24")
    assert len(slots) == defaults["aws_service_instances_max"] * 1.5


def test_a_range_that_is_too_small_for_the_pool_is_refused(tmp_path: Path) -> None:
    done = ansible(tmp_path, {"overlay_cidr": "10.9.0.0/28"}, "gateway", "-mdebug", "--args=var=overlay_slots")
    assert "10.9.0.0/28" in done.stdout + done.stderr


def test_the_tags_are_those_of_the_rules(tmp_path: Path) -> None:
    tags = value(tmp_path, "overlay_tags")
    assert {name: tag["id"] for name, tag in tags.items()} == {"role": 1, "community": 2}
    assert tags["role"]["enums"] == {"app": 1, "gateway": 2, "ops": 3}


def test_the_connection_leaves_out_what_the_inventory_does_not_say(tmp_path: Path) -> None:
    patient = {"aws_config": {"retries": {"total_max_attempts": 8}}}
    assert value(tmp_path, "aws_connection", aws_region="eu-west-1", aws_endpoint_url="") == {
        "region": "eu-west-1",
        **patient,
    }
    assert value(tmp_path, "aws_connection", aws_region="eu-west-1", aws_secret_key="a", aws_access_key="b") == {
        "region": "eu-west-1",
        "access_key": "b",
        "secret_key": "a",
        **patient,
    }


def test_who_says_how_often_to_try_is_heard(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    assert value(tmp_path, "aws_connection", aws_region="eu-west-1")["aws_config"] == {
        "retries": {"total_max_attempts": 1}
    }


def test_no_inventory_repeats_what_is_derived() -> None:
    derived = {
        name for path in (ROOT / "playbooks/group_vars/all").glob("*.yml") for name in yaml.safe_load(path.read_text())
    }
    assert {"overlay_slots", "overlay_tags", "aws_connection"} <= derived
    files = [
        path for path in (ROOT / "inventory").rglob("*.yml") if path.parent.name in ("all", "group_vars", "host_vars")
    ]
    assert len(files) > 5
    assert [str(path) for path in files if derived & set(yaml.safe_load(path.read_text()) or {})] == []


def test_a_secret_of_the_connection_is_in_no_output_and_on_no_command_line(tmp_path: Path) -> None:
    """A shim in place of Python notes the command lines that a task starts."""
    seen = tmp_path / "seen"
    shim = tmp_path / "python3"
    shim.write_text(f'#!/bin/sh\necho "$0 $*" >> "{seen}"\nenv >> "{seen}"\nexec "{sys.executable}" "$@"\n')
    shim.chmod(0o755)
    playbook = tmp_path / "connection.yml"
    (tmp_path / "group_vars").symlink_to(ROOT / "playbooks/group_vars")
    variables = {
        "ansible_python_interpreter": str(shim),
        "aws_region": "eu-west-1",
        "aws_endpoint_url": "http://127.0.0.1:1",
        "aws_access_key": "emulated-key-id",
        "aws_secret_key": SECRET,
        "project": "parkmesh",
        "parkmesh_environment": "unit",
    }
    assert ansible(tmp_path, variables, "--version").returncode == 0  # writes the inventory
    playbook.write_text(
        yaml.safe_dump(
            [
                {
                    "hosts": "aws",
                    "gather_facts": False,
                    "module_defaults": {
                        "group/aws": "{{ aws_connection }}",
                        "overlay_slots": "{{ overlay_pool_connection }}",
                    },
                    "tasks": [
                        {"overlay_slots": {"state": "gathered"}, "ignore_errors": True},
                        {"amazon.aws.ec2_vpc_net_info": {}, "ignore_errors": True},
                    ],
                }
            ]
        )
    )
    done = subprocess.run(
        [f"{ANSIBLE}-playbook", "-i", str(tmp_path / "inventory.yml"), str(playbook), "-vvvv"],
        cwd=ROOT,
        env={**os.environ, "AWS_MAX_ATTEMPTS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    # Both modules were reached by the connection, and neither told the secret.
    assert done.stdout.count("http://127.0.0.1:1") >= 2
    assert "python3" in seen.read_text()
    assert SECRET not in done.stdout + done.stderr + seen.read_text()
