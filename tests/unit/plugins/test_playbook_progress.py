"""The progress of a run of several playbooks: a line each, what comes next, and what failed, without secrets."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]

ONE = """
- name: One
  hosts: localhost
  gather_facts: false
  tasks:
    - name: Work
      ansible.builtin.debug:
        msg: something
- name: One goes on
  hosts: localhost
  gather_facts: false
  tasks: []
"""
TWO = """
- name: Two
  hosts: localhost
  gather_facts: false
  tasks:
    - name: Try
      block:
        - name: Rescued
          ansible.builtin.fail:
            msg: this is rescued
      rescue:
        - name: Go on
          ansible.builtin.meta: noop
    - name: Break
      ansible.builtin.fail:
        msg: the bridge is out
      no_log: HIDDEN
      when: BREAKS
"""
COMMANDS = """
- name: Two
  hosts: localhost
  gather_facts: false
  tasks:
    - name: Call
      ansible.builtin.shell: "echo about {{ item }} >&2; exit {{ item }}"
      loop: [0, 3]
      no_log: HIDDEN
"""
SITE = """
- name: First
  ansible.builtin.import_playbook: one.yml
- name: Second
  ansible.builtin.import_playbook: two.yml
"""


def play(
    folder: Path,
    breaks: str,
    *,
    hidden: str = "false",
    descriptor: bool = True,
    second: str = TWO,
    site: str = SITE,
    inventory: str = "localhost,",
) -> tuple[int, list[str]]:
    """Run the playbooks; return the exit code and the lines of progress."""
    (folder / "one.yml").write_text(ONE)
    (folder / "two.yml").write_text(second.replace("BREAKS", breaks).replace("HIDDEN", hidden))
    (folder / "site.yml").write_text(site)
    (folder / "ansible.cfg").write_text(f"[defaults]\ncallback_plugins = {ROOT / 'callback_plugins'}\n")
    progress = folder / "progress"
    with progress.open("w") as stream:
        environment = {
            **os.environ,
            "ANSIBLE_CONFIG": str(folder / "ansible.cfg"),
            "ANSIBLE_CALLBACKS_ENABLED": "playbook_progress",
        }
        if descriptor:
            environment["PARKMESH_PROGRESS_DESCRIPTOR"] = str(stream.fileno())
        done = subprocess.run(
            [str(Path(sys.executable).with_name("ansible-playbook")), "-i", inventory, "-c", "local", "site.yml"],
            cwd=folder,
            env=environment,
            pass_fds=[stream.fileno()],
            capture_output=True,
            text=True,
            check=False,
        )
    assert "Failure using method" not in done.stdout + done.stderr, done.stderr
    return done.returncode, progress.read_text().splitlines()


def test_each_playbook_has_a_line_with_its_place_and_what_comes_next(tmp_path: Path) -> None:
    code, lines = play(tmp_path, "false")
    assert code == 0
    assert [line.partition("] ")[2] for line in lines] == ["one (1 of 2; then two)", "two (2 of 2; the last one)"]


def test_what_failed_is_told_and_what_was_rescued_is_not(tmp_path: Path) -> None:
    code, lines = play(tmp_path, "true")
    assert code == 2
    assert lines[2:] == ["FAILED in two: localhost, Break: the bridge is out"]


def test_a_failure_names_its_own_playbook_when_others_follow(tmp_path: Path) -> None:
    (tmp_path / "three.yml").write_text(ONE)
    (tmp_path / "inventory").write_text("localhost\nother\n")
    half = TWO.replace("hosts: localhost", "hosts: all")
    third = SITE + "- name: Third\n  ansible.builtin.import_playbook: three.yml\n"
    code, lines = play(tmp_path, "inventory_hostname == 'other'", second=half, site=third, inventory="inventory")
    assert code == 2
    assert lines[2].endswith("three (3 of 3; the last one)")
    assert lines[3:] == ["FAILED in two: other, Break: the bridge is out"]


def test_of_a_failed_command_the_item_and_the_end_of_its_output_are_told(tmp_path: Path) -> None:
    _, lines = play(tmp_path, "true", second=COMMANDS)
    (failed,) = lines[2:]
    assert failed.startswith("FAILED in two: localhost, Call: 3: ")
    assert failed.endswith(" about 3")


def test_a_censored_command_tells_neither_item_nor_output(tmp_path: Path) -> None:
    _, lines = play(tmp_path, "true", hidden="true", second=COMMANDS)
    (failed,) = lines[2:]
    assert "about" not in failed
    assert "Call: 3" not in failed


def test_a_censored_result_stays_censored(tmp_path: Path) -> None:
    code, lines = play(tmp_path, "true", hidden="true")
    assert code == 2
    assert len(lines) == 3
    assert "bridge" not in lines[2]


@pytest.mark.parametrize("breaks", ["true", "false"])
def test_without_a_descriptor_nothing_is_said(tmp_path: Path, breaks: str) -> None:
    _, lines = play(tmp_path, breaks, descriptor=False)
    assert lines == []
