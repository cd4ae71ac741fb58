"""Keep the kernel's map of forwards like the slot table. What can't be read or applied leaves the last map in force."""

import subprocess
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from parkmesh_nat import forwards
from parkmesh_nat.settings import Settings

INTERVAL_S = 1.5
"""A change of the table acts within this and the time of one reading, less than 3 s."""
REMIND_S = 60.0


class ApplyError(Exception):
    """nft refused; one line."""


def read_table(dynamodb: Any, table: str) -> list[Mapping[str, Any]]:
    """Return all items of the slot table as of now. ``dynamodb`` is boto3's client; raises its errors."""
    pages = dynamodb.get_paginator("scan").paginate(TableName=table, ConsistentRead=True)
    return [item for page in pages for item in page["Items"]]


def apply(wanted: forwards.Forwards) -> None:
    """Load the map; raise ApplyError if the kernel refuses it."""
    done = subprocess.run(
        ["nft", "--file", "-"], input=forwards.ruleset(wanted), capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise ApplyError(f"nft refused the forwards: {done.stderr.strip().splitlines()[:1]}")


def forget_flows(port: int, was: str | None) -> None:
    """End the flows that the kernel remembers of a port, or they would go on to the slot's earlier holder.

    conntrack's exit code 1 means that there was none.
    """
    chosen = [["--orig-port-dst", str(port)]]
    if was is not None:
        chosen.append(["--orig-src", was, "--orig-port-src", str(port)])
    for which in chosen:
        subprocess.run(["conntrack", "--delete", "--proto", "udp", *which], capture_output=True, check=False)


class Agent:
    """One agent. ``state`` is a file that outlives it: after a restart the last map is in force without the table."""

    def __init__(
        self,
        read: Callable[[], Iterable[Mapping[str, Any]]],
        settings: Settings,
        state: Path,
        say: Callable[[str], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._read, self._settings, self._state, self._say, self._clock = read, settings, state, say, clock
        self._applied: forwards.Forwards | None = None
        self._failing_since: float | None = None
        self._reminded_at = 0.0

    def begin(self) -> None:
        """Put the last map in force, if there is one."""
        try:
            lines = [line.split() for line in self._state.read_text().splitlines()]
            last = {int(port): address for port, address in lines}
        except (OSError, ValueError):
            return
        self._put(last)

    def once(self) -> None:
        """Read the table once and act on it; whatever fails is said, and the last map stays."""
        try:
            self._put(forwards.wanted(self._read(), self._settings.inside))
        except Exception as error:  # noqa: BLE001 - the last map must stay in force, whatever it was
            now = self._clock()
            if self._failing_since is None:
                self._failing_since, self._reminded_at = now, now - REMIND_S
            if now - self._reminded_at >= REMIND_S:
                self._reminded_at = now
                self._say(f"the last forwards stay, for {now - self._failing_since:.0f} s now: {error}")
        else:
            if self._failing_since is not None:
                self._say("the slot table is read again")
            self._failing_since = None

    def _put(self, wanted: forwards.Forwards) -> None:
        if wanted == self._applied:
            return
        apply(wanted)
        for port, was in forwards.moved(self._applied or {}, wanted):
            # After a restart the flows are those of the last map.
            if self._applied is not None:
                forget_flows(port, was)
            self._say(f"UDP port {port}: {was or 'nobody'} → {wanted.get(port, 'nobody')}")
        self._applied = wanted
        partial = self._state.with_suffix(".new")
        partial.write_text("".join(f"{port} {address}\n" for port, address in wanted.items()))
        partial.replace(self._state)
