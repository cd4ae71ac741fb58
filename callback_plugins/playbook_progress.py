"""A line for each playbook of a run, with the time and what comes next, beside the full output of the tasks."""

from __future__ import annotations

DOCUMENTATION = """
name: playbook_progress
type: notification
short_description: A line for each playbook, with elapsed time and what comes next
description:
  - Writes to a file descriptor of the caller's, so that the tasks' output can go to a file meanwhile.
  - Tells which task failed, on which host and why, when the run has failed.
  - Does nothing where no descriptor is given.
options:
  descriptor:
    description: Number of the open file descriptor to write to.
    type: int
    env:
      - name: PARKMESH_PROGRESS_DESCRIPTOR
  started:
    description: When the run began, in seconds since 1970; without it the time of the first playbook.
    type: float
    env:
      - name: PARKMESH_PROGRESS_STARTED
"""

import os
import time
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ansible.plugins.callback import CallbackBase

if TYPE_CHECKING:
    from typing import TextIO


LONGEST = 400
"""The most characters of a message, and of a command's output, that a line shows."""


def in_order(paths: Iterable[str]) -> list[str]:
    """Return the names of the playbooks that plays come from (``path:line`` each), in their order, each once."""
    return list(dict.fromkeys(Path(path.rpartition(":")[0] or path).stem for path in paths))


def line(names: list[str], current: str, seconds: float) -> str:
    """Return the line for a playbook that begins."""
    place = names.index(current)
    after = f"then {names[place + 1]}" if place + 1 < len(names) else "the last one"
    return f"[{seconds:3.0f}s] {current} ({place + 1} of {len(names)}; {after})"


def cause(result: dict[str, Any]) -> str:
    """Return why a task failed, in one line: its message, and the end of what a command wrote.

    What Ansible censored stays censored.
    """
    if "censored" in result:
        return str(result["censored"])
    text = " ".join(str(result.get("msg") or result.get("reason") or "no message").split())[:LONGEST]
    written = " ".join(str(result.get("stderr") or result.get("stdout") or "").split())[-LONGEST:]
    return f"{text} {written}" if written else text


class CallbackModule(CallbackBase):  # type: ignore[misc] # Ansible ships no types
    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "notification"
    CALLBACK_NAME = "playbook_progress"
    CALLBACK_NEEDS_ENABLED = True

    def __init__(self) -> None:
        super().__init__()
        self._stream: TextIO | None = None
        self._names: list[str] = []
        self._current = ""
        self._started = time.time()
        self._failed: dict[str, str] = {}
        # By host: the first item of a loop that failed. The loop's message says only that an item failed.
        self._items: dict[str, str] = {}

    def set_options(self, *args: Any, **kwargs: Any) -> None:
        super().set_options(*args, **kwargs)
        descriptor = self.get_option("descriptor")
        if descriptor is not None:
            self._stream = os.fdopen(os.dup(descriptor), "w", encoding="utf-8")
        self._started = self.get_option("started") or self._started

    def _say(self, text: str) -> None:
        if self._stream is not None:
            self._stream.write(f"{text}\n")
            self._stream.flush()

    def v2_playbook_on_start(self, playbook: Any) -> None:
        self._names = in_order(play.get_path() for play in playbook.get_plays())

    def v2_playbook_on_play_start(self, play: Any) -> None:
        (name,) = in_order([play.get_path()])
        if name != self._current and name in self._names:
            self._current = name
            self._say(line(self._names, name, time.time() - self._started))

    def _note(self, result: Any) -> None:
        host, task = result.host.get_name(), result.task.get_name().strip()
        self._failed[host] = f"{self._current}: {host}, {task}: {self._items.get(host) or cause(result.result)}"

    def v2_runner_item_on_failed(self, result: Any) -> None:
        label = self._get_item_label(result.result)
        self._items.setdefault(result.host.get_name(), f"{label}: {cause(result.result)}")

    def v2_runner_on_failed(self, result: Any, ignore_errors: bool = False) -> None:
        if not ignore_errors:
            self._note(result)
        self._items.pop(result.host.get_name(), None)

    def v2_runner_on_unreachable(self, result: Any) -> None:
        self._note(result)

    def v2_playbook_on_stats(self, stats: Any) -> None:
        for host, text in self._failed.items():
            if stats.failures.get(host) or stats.dark.get(host):
                self._say(f"FAILED in {text}")
