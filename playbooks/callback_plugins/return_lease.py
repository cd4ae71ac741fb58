"""Gives the environment's lease back before ansible-playbook ends, also after a failure.

The keeper would do so by itself half a second later. In a container that ends with ansible-playbook, as AWX's jobs do,
it would be killed first, and the next job of a workflow would find the lease held. Beside the playbooks it is found and
loaded without a setting, and whatever ANSIBLE_CALLBACK_PLUGINS says, which ansible-runner sets.
"""

from __future__ import annotations

DOCUMENTATION = """
name: return_lease
type: aggregate
short_description: Gives the environment's lease back before the run ends
description:
  - Ends the keeper that action plugin C(environment_lease) started in this run, and waits until it has given the lease
    back.
"""

from typing import TYPE_CHECKING, Any

from ansible.plugins.callback import CallbackBase

if TYPE_CHECKING:
    from module_utils import environment_lease as leases
else:
    from ansible.module_utils import environment_lease as leases


class CallbackModule(CallbackBase):  # type: ignore[misc] # Ansible ships no types
    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "aggregate"
    CALLBACK_NAME = "return_lease"

    def __init__(self) -> None:
        super().__init__()
        self._keepers: set[str] = set()

    def v2_runner_on_ok(self, result: Any) -> None:
        if result.task.action.rpartition(".")[2] == "environment_lease" and result.result.get("keeper"):
            self._keepers.add(str(result.result["keeper"]))

    def v2_playbook_on_stats(self, stats: Any) -> None:
        for keeper in self._keepers:
            leases.dismiss(keeper)
