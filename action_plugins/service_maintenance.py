"""Waits for what module service_maintenance started, shows how it goes, and fails with the task's own words."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

from ansible.plugins.action import ActionBase
from ansible.utils.display import Display

Result = dict[str, Any]
STILL_S = 60.0
"""How often a task that runs on is told."""
CALLED = {"migrate": "migration", "retention": "retention"}


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
    """Wait until the instance has a result or is gone; the last look has ``done`` False when the time was over.

    ``call`` runs the module with arguments that replace those of the task.
    """
    which = {"instance_id": result["instance_id"]}
    began = told = clock()
    say(result["progress"])
    while not result["done"] and clock() - began < wait_s:
        sleep(poll_s)
        result = call({"state": "gathered", **which})
        if result.get("failed"):
            return result
        if not result["done"] and clock() - told >= STILL_S:
            told = clock()
            say(f"{result['progress']} It has run for {told - began:.0f} s.")
    return result


def verdict(result: Result, wait_s: float, task: str = "migrate") -> str:
    """Why the task failed, and for a migration what that means for the roll; empty when it didn't."""
    outcome = result["result"]
    if outcome.get("state") == "succeeded":
        return ""
    if outcome:
        why = f"The {CALLED[task]} failed: {outcome.get('message') or 'it said nothing'}."
    elif result["done"]:
        why = f"{result['progress']} Its console output may say why."
    else:
        why = f"The {CALLED[task]} of {result['instance_id']} wasn't done in {wait_s:.0f} s, and was ended."
    return f"{why} No server was started or replaced." if task == "migrate" else why


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
        if result.get("failed") or result["done"] or arguments.get("state", "done") != "done":
            return result
        wait_s, poll_s = float(arguments.get("wait_s", 3600)), float(arguments.get("poll_s", 5))
        result = follow(result, call, Display().display, wait_s=wait_s, poll_s=poll_s)
        if result.get("failed"):
            return result
        ended = call({"state": "ended", "instance_id": result["instance_id"]})
        if ended.get("failed"):
            return ended
        result["changed"] = True
        if why := verdict(result, wait_s, arguments.get("task", "migrate")):
            result |= {"failed": True, "msg": why}
        return result
