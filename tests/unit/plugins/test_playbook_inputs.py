"""A mistyped input of the command line ends a run before it does anything."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
import yaml

from module_utils import playbook_inputs
from playbooks.callback_plugins import known_inputs

from .conftest import ROOT

ROLES = ["aws_service", "zerotier"]
HEADER = """# Roll it; roll_nothing here.
#
# Required:  community=riverside (a name); overlay_*, parking_gateway_* for each
#            gateway, overlay_member (name).
# Optional:  roll_waves=10,100 (5 to 600);
#            title="Riverside Estate".
# Example:   ansible-playbook x.yml -e other=1
# Way back:  not_an_input.
- name: x
  vars: {of_a_play: 1}
"""


def test_a_header_names_its_inputs() -> None:
    assert playbook_inputs.of_header(HEADER) == {"community", "overlay_member", "roll_waves", "title"}


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ("community", None),
        ("comunity", "No playbook or role knows the input comunity. Did you mean community?"),
        ("roll_wave", "No playbook or role knows the input roll_wave. Did you mean roll_waves?"),
        (
            "zerotier_colour",
            "No playbook or role knows the input zerotier_colour. "
            "Role zerotier has no such input (roles/zerotier/README.md).",
        ),
        ("ansible_python_interpreter", None),
        ("awx_job_id", None),
        ("tower_job_id", None),
        ("branch_office", None),
    ],
)
def test_a_name_that_nothing_knows(given: str, says: str | None) -> None:
    known = {"community", "roll_waves", "ansible_python_interpreters"}
    assert playbook_inputs.faults([given], known, ROLES) == ({given: says} if says else {})


TEMPLATES = yaml.safe_load((ROOT / "playbooks/files/awx/job_templates.yml").read_text())["job_templates"]


def test_an_input_has_the_same_values_in_every_survey() -> None:
    bounds: dict[str, set[str]] = {}
    for template in TEMPLATES.values():
        for asked in template.get("survey", []):
            kind = str([asked.get(key) for key in ("type", "choices", "min", "max")])
            bounds.setdefault(asked["variable"], set()).add(kind)
    assert [name for name, kinds in bounds.items() if len(kinds) > 1] == []


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        ("destroy_force", "tru", "destroy_force is 'tru'. Give true or false."),
        ("destroy_force", "Yes", None),
        ("destroy_force", True, None),
        ("publish_again", "again", "publish_again is 'again'. Give true or false."),
        ("awx_purge", "", "awx_purge is ''. Give true or false."),
        ("restore_announce", "never", "restore_announce is 'never'. Give true or false."),
        ("format", "jsn", "format is 'jsn'. Give text or json."),
        ("format", "json", None),
        ("database_ca", "refesh", "database_ca is 'refesh'. Give keep or refresh."),
        ("onboard_test", "twice", "onboard_test is 'twice'. Give once or again or skip."),
        ("offboard_drain_s", "4", "offboard_drain_s is '4'. Give a whole number from 5 to 600."),
        ("offboard_drain_s", 600, None),
        ("offboard_drain_s", "1m", "offboard_drain_s is '1m'. Give a whole number from 5 to 600."),
        ("offboard_drain_s", "{{ 60 * 2 }}", None),
        ("roll_waves", "10,100", None),
        ("site_name", "x", None),
    ],
)
def test_a_value_that_its_input_does_not_allow(name: str, value: object, says: str | None) -> None:
    assert known_inputs.wrong_values({name: value}) == ([says] if says else [])


def test_what_awx_gives_is_known() -> None:
    asked = {question["variable"] for template in TEMPLATES.values() for question in template.get("survey", [])}
    asked |= {folder for template in TEMPLATES.values() for folder in template.get("keeps_files", [])}
    asked |= {name for template in TEMPLATES.values() for name in template.get("variables", {})}
    assert asked - known_inputs.of_playbooks() == set()


def run(
    ansible_playbook: str, folder: Path, playbook: str, *inputs: str, check: bool = False
) -> subprocess.CompletedProcess[str]:
    hosts = {"control-node": {"ansible_connection": "local", "site_name": "x"}}
    inventory = {"aws": {"hosts": hosts}, "gateways": {"hosts": {"gateway-a": None}}}
    (folder / "hosts.yml").write_text(yaml.safe_dump(inventory))
    given = [argument for pair in inputs for argument in ("-e", pair)]
    command = [ansible_playbook, f"playbooks/{playbook}.yml", "-i", str(folder), *given, *["--check"] * check]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


def test_a_run_ends_before_its_first_task(ansible_playbook: str, tmp_path: Path) -> None:
    done = run(ansible_playbook, tmp_path, "explain-access", "explain_form=gateway-a", "explain_port=http")
    assert done.returncode == 5
    assert "No playbook or role knows the input explain_form. Did you mean explain_from?" in done.stderr
    assert "explain_port is 'http'. Give a whole number from 1 to 65535." in done.stderr
    assert "TASK" not in done.stdout
    # A variable of the inventory is known, also where it is like another name.
    assert "No playbook or role knows" not in run(ansible_playbook, tmp_path, "explain-access", "site_name=y").stderr


@pytest.mark.parametrize(
    ("playbook", "name"),
    [
        ("apply-communities", "apply_hosts"),
        ("enroll-gateways", "enroll_hosts"),
        ("install-simulators", "install_hosts"),
        ("roll-gateways", "roll_hosts"),
        ("verify", "verify_hosts"),
    ],
)
def test_hosts_that_are_none_end_the_run(ansible_playbook: str, tmp_path: Path, playbook: str, name: str) -> None:
    done = run(ansible_playbook, tmp_path, playbook, f"{name}=gateway-z", check=True)
    assert done.returncode == 5, done.stdout + done.stderr
    assert f"{name} (gateway-z) matches no host of the inventory" in done.stderr


def test_a_slice_of_the_inventory_may_have_none_of_the_hosts(ansible_playbook: str, tmp_path: Path) -> None:
    done = run(ansible_playbook, tmp_path, "verify", "verify_hosts=gateway-z", "awx_job_id=4", check=True)
    assert done.returncode == 0, done.stdout + done.stderr
