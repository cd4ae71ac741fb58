"""Whether a gateway is well, check by check, and what has become worse than it was before.

Who installs a release asks before and after it: a line that was down already is no fault of the release.
"""

from collections.abc import Mapping
from typing import Any

from msgspec import Struct

RUNS = "runs"
RELEASE = "release"
"""Whether the gateway takes the release that a server tells it to fetch."""
_SYNCING = ("events", "access list", "heartbeat")
_WAITING_MAX = 20
"""A busy gate always has a refused read or two that wait for a better one."""

Checks = Mapping[str, str | None]
"""What each check found: None where all is well, else what is wrong, in a few words."""


class Health(Struct):
    """``faults``: what is wrong and counts; ``known``: what is wrong and was so before, or was not checked before."""

    well: bool
    checks: Checks
    faults: dict[str, str]
    known: dict[str, str]


def checks(status: Mapping[str, Any], relays: Mapping[str, str | None]) -> Checks:
    """Return what a status shows, and for each gate what its relay answered (None: it answered).

    Of an agent that doesn't run nothing else is known. A field that an earlier release doesn't have is well.
    """
    if not status.get("running"):
        return {RUNS: "the agent doesn't answer"}
    return {
        RUNS: None,
        "list": _list(status),
        "decides": _decides(status),
        "disk": _disk(status),
        "syncs": _syncs(status),
        "stream": None if status.get("stream", True) else "no stream from a server: commands don't arrive",
        "encrypts": (status.get("tls") or {}).get("fault"),
        "broker": _broker(status),
        RELEASE: (status.get("release") or {}).get("fault"),
        **{f"relay of gate {gate}": fault for gate, fault in relays.items()},
    }


def judge(found: Checks, before: Checks | None) -> Health:
    """Compare with ``before``: a check that wasn't well then, or wasn't there, counts no more. Running always does.
    A release that isn't fetched says nothing about the one on trial, so that with a ``before`` it doesn't count.

    Without a ``before`` everything counts.
    """
    faults: dict[str, str] = {}
    known: dict[str, str] = {}
    for name, fault in found.items():
        if fault is not None:
            was_well = before is None or name == RUNS or (name != RELEASE and name in before and before[name] is None)
            (faults if was_well else known)[name] = fault
    return Health(not faults, found, faults, known)


def _list(status: Mapping[str, Any]) -> str | None:
    if not status.get("access_list_version"):
        return "there is no access list to decide by"
    return None if status.get("access_list_whole", True) else "the stored access list is damaged"


def _decides(status: Mapping[str, Any]) -> str | None:
    waiting = int(status.get("undecided", 0))
    return f"{waiting} camera messages wait for a decision" if waiting > _WAITING_MAX else None


def _disk(status: Mapping[str, Any]) -> str | None:
    if status.get("storing", "disk") == "disk":
        return None
    return f"the disk takes no records: {status.get('disk_error')}"


def _broker(status: Mapping[str, Any]) -> str | None:
    if status.get("mqtt") is not False:
        return None
    return ": ".join(["not connected to the broker", *filter(None, [status.get("mqtt_fault")])])


def _syncs(status: Mapping[str, Any]) -> str | None:
    errors = status.get("errors") or {}
    failing = [errors[name] for name in _SYNCING if name in errors]
    if failing:
        return str(failing[-1])
    if status.get("last_sync") is None:
        return str(status.get("last_error") or "no server has answered yet")
    return None
