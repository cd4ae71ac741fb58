"""Refuses inputs of the command line that nothing knows and values that they don't allow, before the first task, and
patterns of hosts that match nothing.

A mistyped name would otherwise be as if it hadn't been given: -e roll_wave=5 would roll by the waves of the default. A
mistyped truth value would be false, and a play without hosts a success: verify would pass with no gateway looked at.
Beside the playbooks it is found and loaded without a setting.
"""

from __future__ import annotations

DOCUMENTATION = """
name: known_inputs
type: aggregate
short_description: Refuses inputs of the command line that nothing knows, or that are wrong
description:
  - Compares the names of extra variables with the headers of the playbooks, the inputs of the roles and the variables
    of the inventory. A name that is like a known one, or begins like a role's inputs, ends the run before its first
    task.
  - Other unknown names are the user's own, for what their inventory makes of them.
  - Compares truth values, choices and whole numbers with the playbooks' headers and with the surveys of AWX's job
    templates.
  - An input such as C(verify_hosts) whose pattern matches no host ends the run at its play. A job of AWX that has a
    slice of the inventory goes on, since the hosts may be in another slice.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml
from ansible.errors import ExitCode
from ansible.plugins.callback import CallbackBase

if TYPE_CHECKING:
    from module_utils import playbook_inputs
else:
    from ansible.module_utils import playbook_inputs

PROJECT = Path(__file__).parents[2]


def of_playbooks() -> set[str]:
    """Return the names that the playbooks' headers and the roles' argument specs know."""
    known = {"take_over_lease"}
    for playbook in (PROJECT / "playbooks").glob("*.yml"):
        text = playbook.read_text(encoding="utf-8")
        known |= playbook_inputs.of_header(text) | playbook_inputs.renamed(text)
    for spec in (PROJECT / "roles").glob("*/meta/argument_specs.yml"):
        entries = yaml.load(spec.read_text(encoding="utf-8"), yaml.CSafeLoader)["argument_specs"]
        known |= {name for entry in entries.values() for name in entry.get("options", {})}
    for defaults in (PROJECT / "playbooks/group_vars").rglob("*.yml"):
        known |= set(yaml.load(defaults.read_text(encoding="utf-8"), yaml.CSafeLoader) or {})
    return known


def of_inventory(play: Any) -> set[str]:
    """Return the names of the variables that a host of each group has."""
    manager = play.get_variable_manager()
    groups = manager._inventory.groups.values()
    hosts = {group.hosts[0].name: group.hosts[0] for group in groups if group.hosts}
    return {name for host in hosts.values() for name in manager.get_vars(host=host) if name not in manager.extra_vars}


def job_templates() -> dict[str, Any]:
    """Return the job templates of AWX, by their playbooks' names."""
    data = (PROJECT / "playbooks/files/awx/job_templates.yml").read_text(encoding="utf-8")
    templates: dict[str, Any] = yaml.load(data, yaml.CSafeLoader)["job_templates"]
    return templates


def wrong_values(given: Mapping[str, Any]) -> list[str]:
    """Return a line for each value that its input doesn't allow."""
    headers = [playbook.read_text(encoding="utf-8") for playbook in (PROJECT / "playbooks").glob("*.yml")]
    flags = set().union(*map(playbook_inputs.flags, headers))
    return playbook_inputs.wrong_values(given, flags, playbook_inputs.questions(job_templates()))


class CallbackModule(CallbackBase):  # type: ignore[misc] # Ansible ships no types
    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "aggregate"
    CALLBACK_NAME = "known_inputs"

    def __init__(self) -> None:
        super().__init__()
        self._playbook = ""
        self._play: Any = None

    def v2_playbook_on_start(self, playbook: Any) -> None:
        self._playbook = Path(playbook._file_name).stem

    def v2_playbook_on_play_start(self, play: Any) -> None:
        first, self._play = self._play is None, play
        given = play.get_variable_manager().extra_vars
        if not first or not given:
            return
        roles = [folder.name for folder in (PROJECT / "roles").iterdir()]
        known = of_playbooks()
        if faults := playbook_inputs.faults(given, known, roles):
            faults = playbook_inputs.faults(given, known | of_inventory(play), roles)
        if lines := [*faults.values(), *wrong_values(given)]:
            self._end(lines)

    def v2_playbook_on_no_hosts_matched(self) -> None:
        given = self._play.get_variable_manager().extra_vars
        sliced = "awx_job_id" in given and job_templates().get(self._playbook, {}).get("slices", 1) > 1
        pattern = ",".join(self._play.hosts)
        lines = [
            f"{name} ({pattern}) matches no host of the inventory: '{self._play.get_name()}' has nothing to do."
            for name, value in given.items()
            if name.endswith("_hosts") and str(value) == pattern and not sliced
        ]
        if lines:
            self._end(lines)

    def _end(self, lines: list[str]) -> None:
        self._display.error("\n".join(lines), wrap_text=False)
        # Ansible makes a warning of any other exception of a callback, and goes on.
        raise SystemExit(int(ExitCode.INVALID_CLI_OPTION))
