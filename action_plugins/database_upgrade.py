"""Calls module database_upgrade until the database is upgraded, and shows a line for each step forward."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

from ansible.plugins.action import ActionBase
from ansible.utils.display import Display

Result = dict[str, Any]


REFUSED_LOOKS = 8
"""How often in a row RDS may look as if it did nothing."""


def follow(
    result: Result,
    call: Callable[[Mapping[str, Any]], Result],
    say: Callable[[str], None],
    *,
    wait_s: float,
    poll_s: float,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> Result:
    """Take step after step; returns the last look, which has ``done`` False when nothing went on for ``wait_s``.

    ``call`` runs the module with arguments that replace those of the task.
    """
    changed, moved, shown, refused = False, clock(), "", 0
    while not result.get("failed"):
        changed = changed or bool(result["changed"])
        result["changed"] = changed
        if result["progress"] != shown:
            moved, shown = clock(), result["progress"]
            say(shown)
        refused = refused + 1 if result["refused"] else 0
        if result["done"] or refused > REFUSED_LOOKS or clock() - moved > wait_s:
            break
        sleep(poll_s)
        # The version that was chosen stays, also when RDS offers a newer one meanwhile.
        result = call({"asked": result["asked"], "version": result["version"]})
    return result


class ActionModule(ActionBase):  # type: ignore[misc] # Ansible ships no types
    TRANSFERS_FILES = False
    _supports_check_mode = True

    def run(self, tmp: Any = None, task_vars: Any = None) -> Result:
        super().run(tmp, task_vars)
        arguments = dict(self._task.args)

        def call(other: Mapping[str, Any]) -> Result:
            result: Result = self._execute_module(module_args={**arguments, **other}, task_vars=task_vars)
            return result

        result = call({})
        if result.get("failed") or self._task.check_mode:
            return result
        wait_s, poll_s = float(arguments.get("wait_s", 7200)), float(arguments.get("poll_s", 15))
        result = follow(result, call, Display().display, wait_s=wait_s, poll_s=poll_s)
        if not result.get("failed") and not result["done"]:
            what = "RDS didn't upgrade it" if result["refused"] else f"Nothing went on for {wait_s:.0f} s"
            result |= {"failed": True, "msg": f"{what}: {result['progress']}"}
        return result
