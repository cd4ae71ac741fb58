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


def test_what_awx_gives_is_known() -> None:
    templates = yaml.safe_load((ROOT / "playbooks/files/awx/job_templates.yml").read_text())["job_templates"]
    asked = {question["variable"] for template in templates.values() for question in template.get("survey", [])}
    asked |= {folder for template in templates.values() for folder in template.get("keeps_files", [])}
    asked |= {name for template in templates.values() for name in template.get("variables", {})}
    assert asked - known_inputs.of_playbooks() == set()


def test_a_run_ends_before_its_first_task(ansible_playbook: str, tmp_path: Path) -> None:
    hosts = {"control-node": {"ansible_connection": "local", "site_name": "x"}}
    (tmp_path / "hosts.yml").write_text(yaml.safe_dump({"aws": {"hosts": hosts}}))

    def run(*inputs: str) -> subprocess.CompletedProcess[str]:
        given = [argument for pair in inputs for argument in ("-e", pair)]
        command = [ansible_playbook, "playbooks/explain-access.yml", "-i", str(tmp_path), *given]
        return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)

    done = run("explain_form=gateway-a", "explain_to=slot-1")
    assert done.returncode == 5
    assert "No playbook or role knows the input explain_form. Did you mean explain_from?" in done.stderr
    assert "TASK" not in done.stdout
    # A variable of the inventory is known, also where it is like another name.
    assert "No playbook or role knows" not in run("site_name=y").stderr
