"""The guards of playbooks/{offboard-community,replace-gateway,move-gateway}.yml, which need no system."""

import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
INVENTORY = """
all:
  vars: {ansible_connection: local, ansible_python_interpreter: "{{ ansible_playbook_python }}"}
  children:
    aws: {hosts: {control-node: }}
    app_servers: {hosts: {}}
    gateways: {hosts: {g1: {parking_gateway_community: a}, g2: {parking_gateway_community: a}}}
"""


@pytest.mark.parametrize(
    ("playbook", "given", "told"),
    [
        ("offboard-community", ["community=a"], "add -e offboard_confirm=a"),
        ("offboard-community", ["community=a", "offboard_confirm=b"], "add -e offboard_confirm=a"),
        ("replace-gateway", [], "Name the community with -e community=<name>"),
        ("move-gateway", ["gateway=g3"], "one of g1, g2"),
    ],
)
def test_nothing_is_done_without_the_words_that_it_takes(
    ansible_playbook: str, tmp_path: Path, playbook: str, given: list[str], told: str
) -> None:
    inventory = tmp_path / "hosts.yml"
    inventory.write_text(INVENTORY)
    command = [ansible_playbook, f"playbooks/{playbook}.yml", "-i", inventory]
    done = subprocess.run(
        [*command, *(word for pair in given for word in ("-e", pair))],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    shown = " ".join(done.stdout.split())
    assert done.returncode == 2, shown
    assert told in shown
    # The guard is the first thing, and the last.
    assert shown.count("TASK [") == 1
