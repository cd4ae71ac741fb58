"""Refuses inputs of the command line that nothing knows, before the first task.

A mistyped name would otherwise be as if it hadn't been given: -e roll_wave=5 would roll by the waves of the default.
Beside the playbooks it is found and loaded without a setting.
"""

from __future__ import annotations

DOCUMENTATION = """
name: known_inputs
type: aggregate
short_description: Refuses inputs of the command line that nothing knows
description:
  - Compares the names of extra variables with the headers of the playbooks, the inputs of the roles and the variables
    of the inventory. A name that is like a known one, or begins like a role's inputs, ends the run before its first
    task.
  - Other unknown names are the user's own, for what their inventory makes of them.
"""

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


class CallbackModule(CallbackBase):  # type: ignore[misc] # Ansible ships no types
    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "aggregate"
    CALLBACK_NAME = "known_inputs"

    def __init__(self) -> None:
        super().__init__()
        self._looked = False

    def v2_playbook_on_play_start(self, play: Any) -> None:
        given = set(play.get_variable_manager().extra_vars)
        if self._looked or not given:
            return
        self._looked = True
        roles = [folder.name for folder in (PROJECT / "roles").iterdir()]
        known = of_playbooks()
        if playbook_inputs.faults(given, known, roles) and (
            faults := playbook_inputs.faults(given, known | of_inventory(play), roles)
        ):
            self._display.error("\n".join(faults.values()), wrap_text=False)
            # Ansible makes a warning of any other exception of a callback, and goes on.
            raise SystemExit(int(ExitCode.INVALID_CLI_OPTION))
