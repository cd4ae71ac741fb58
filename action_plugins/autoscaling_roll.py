"""Waits for a roll of module autoscaling_roll and shows how it goes: a module can't print anything while it runs."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

from ansible.module_utils.parsing.convert_bool import boolean
from ansible.plugins.action import ActionBase
from ansible.utils.display import Display

Result = dict[str, Any]


class Stopped(Exception):
    """A look at the refresh failed; ``result`` is the module's."""

    def __init__(self, result: Result) -> None:
        super().__init__()
        self.result = result


def place(result: Result) -> tuple[Any, ...]:
    """What is different after a step forward."""
    refresh = result["refresh"]
    return refresh.get("status"), refresh.get("percentage_complete"), refresh.get("instances_to_update")


def paused_s(result: Result) -> int:
    """Seconds for which a refresh may stand still because it was told to: at a checkpoint, or to bake."""
    preferences = result["refresh"].get("preferences") or {}
    checkpoint = preferences.get("checkpoint_delay", 0) if preferences.get("checkpoint_percentages") else 0
    return max(int(checkpoint or 0), int(preferences.get("bake_time") or 0))


def follow(
    result: Result,
    call: Callable[[Mapping[str, Any]], Result],
    say: Callable[[str], None],
    *,
    stall_s: float,
    poll_s: float,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> tuple[Result, bool]:
    """Wait until a refresh has ended; returns the last look and whether it stood still and was given up.

    ``call`` runs the module with arguments that replace those of the task. Raises Stopped when it fails.
    """
    which = {"refresh_id": result["refresh"]["instance_refresh_id"]}
    say(result["progress"])
    moved, gave_up, shown = clock(), False, result["progress"]
    while result["running"]:
        if clock() - moved > stall_s + paused_s(result):
            if gave_up:
                return result, True
            gave_up = True
            say(f"No server was replaced in {stall_s:.0f} s: this takes the roll back.")
            moved = clock()
            result = call({"state": "rolled_back"})
        else:
            sleep(poll_s)
            before = place(result)
            result = call({"state": "gathered", **which})
            if place(result) != before:
                moved = clock()
        if result["progress"] != shown:
            shown = result["progress"]
            say(shown)
    return result, gave_up


class ActionModule(ActionBase):  # type: ignore[misc] # Ansible ships no types
    TRANSFERS_FILES = False
    _supports_check_mode = True

    def run(self, tmp: Any = None, task_vars: Any = None) -> Result:
        super().run(tmp, task_vars)
        arguments = dict(self._task.args)
        say = Display().display

        def call(other: Mapping[str, Any]) -> Result:
            result: Result = self._execute_module(module_args={**arguments, **other}, task_vars=task_vars)
            if result.get("failed"):
                raise Stopped(result)
            return result

        try:
            result = call({})
            wanted = arguments.get("state", "started")
            if self._task.check_mode or wanted == "gathered" or not boolean(arguments.get("wait", True)):
                return result
            stall_s, poll_s = float(arguments.get("stall_s", 900)), float(arguments.get("poll_s", 10))
            while result["blocked"]:
                say("Another roll runs already: this waits for its end.")
                follow(result, call, say, stall_s=stall_s, poll_s=poll_s)
                result = call({})
            changed = result["changed"]
            if not result["refresh"] or not (changed or result["running"]):
                return result
            result, gave_up = follow(result, call, say, stall_s=stall_s, poll_s=poll_s)
        except Stopped as stopped:
            return stopped.result
        result["changed"] = changed
        result["stalled"] = gave_up
        aim = "Successful" if wanted == "started" else "RollbackSuccessful"
        if result["refresh"]["status"] != aim:
            waited = f"No server was replaced in {stall_s:.0f} s. " if gave_up else ""
            result |= {"failed": True, "msg": waited + result["progress"]}
        return result
