"""playbooks/roll-gateways.yml, as far as it runs without a gateway: inputs, the order of the waves, who is offline.

lab/tests/whole/test_gateway_rollout.py rolls a gateway.
"""

import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
INVENTORY = """
all:
  vars: {ansible_host: 127.0.0.1, ansible_port: 1}
  children:
    gateways: {hosts: {g1: , g2: , g3: , g4: }}
    overlay_online: {hosts: {g1: }}
"""


def roll(program: str, folder: Path, *arguments: str) -> tuple[int, str]:
    inventory = folder / "hosts.yml"
    inventory.write_text(INVENTORY)
    command = [program, "playbooks/roll-gateways.yml", "-i", inventory]
    done = subprocess.run(
        [*command, *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    return done.returncode, done.stdout + done.stderr


@pytest.mark.parametrize(
    "given",
    ["roll_canaries=g5", "roll_canaries=g1,,g2", "roll_waves=0,100", "roll_waves=101", "roll_waves=ten"],
)
def test_a_wrong_input_is_named_before_anything_is_done(ansible_playbook: str, tmp_path: Path, given: str) -> None:
    code, shown = roll(ansible_playbook, tmp_path, "-e", given)
    assert code == 2
    name, _, value = given.partition("=")
    assert f"{name} ({value})" in " ".join(shown.split())
    assert "Roll the gateways" not in shown


@pytest.mark.parametrize("given", ["roll_failures_percent=-1", "roll_wait_s=4", "roll_offline=ignore"])
def test_a_number_or_a_choice_that_the_header_doesn_t_allow_is_named_before_the_first_task(
    ansible_playbook: str, tmp_path: Path, given: str
) -> None:
    code, shown = roll(ansible_playbook, tmp_path, "-e", given)
    assert code == 5
    name, _, value = given.partition("=")
    assert f"{name} is '{value}'. Give " in shown
    assert "TASK [" not in shown


def test_canaries_come_first_then_the_waves_and_who_is_offline_is_listed(ansible_playbook: str, tmp_path: Path) -> None:
    code, shown = roll(
        ansible_playbook, tmp_path, "--check", "-e", "roll_canaries=g3", "-e", "roll_waves=50", "-e", "roll_wait_s=5"
    )
    assert code == 0, shown
    waves = re.findall(r"TASK \[Note that it is offline\] \*+\n((?:ok: .*\n)+)", shown)
    assert [sorted(re.findall(r"g\d", wave)) for wave in waves] == [["g3"], ["g1", "g2"], ["g4"]]
    assert re.findall(r"offline and left out: ([g\d, ]+)", shown) == ["g3", "g1, g2, g3", "g1, g2, g3, g4"]
    assert re.findall(r"still to come: (\d)", shown) == ["3", "1"]


def test_a_dry_run_looks_at_gateways_that_the_overlay_knows_to_be_online(ansible_playbook: str, tmp_path: Path) -> None:
    code, shown = roll(
        *(ansible_playbook, tmp_path, "--check", "--limit=g1", "-e", "ansible_connection=local"),
        *("-e", "ansible_python_interpreter={{ ansible_playbook_python }}"),
    )
    # A lab shows what it would do there. Here it is enough that it begins, and misses the first input.
    assert code == 2, shown
    assert "parking_gateway_python" in shown
    assert "offline" not in re.findall(r"of 1 gateways would be[^\]]+TASK", shown)[0]


def test_asked_to_the_run_fails_for_a_gateway_that_is_offline(ansible_playbook: str, tmp_path: Path) -> None:
    code, shown = roll(ansible_playbook, tmp_path, "--limit=g2,g4", "-e", "roll_offline=fail")
    assert code == 2
    assert "g2 was offline. Run the playbook again when it is back." in shown
