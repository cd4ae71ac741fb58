"""What somebody sends to those who help: everything that the gateway knows of itself, without secrets and plates.

Secrets are left out by the name of their key, whatever device they belong to, so that a driver's new password isn't in
it before somebody thinks of it.
"""

import logging
import re
from collections import deque
from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from parkmesh.domain import plates
from parkmesh.gateway.config import Config
from parkmesh.gateway.doctor import Finding
from parkmesh.gateway.sightings import Sightings
from parkmesh.protocol.edge import Passage

_SECRET = frozenset({"secret", "secrets", "password", "token", "key", "keys", "pin", "pins", "hash", "account", "user"})
_LEFT_OUT = "(left out)"
_IN_URL = re.compile(r"^([a-z]+://)[^/@\s]+@")
_LINES = 300


class Tail(logging.Handler):
    """Keeps the last warnings and errors of the agent's journal, which name no plate and no secret."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.lines: deque[str] = deque(maxlen=_LINES)

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(f"{int(record.created * 1000)} {record.levelname} {record.getMessage()[:500]}")


def document(
    config: Config,
    status: Mapping[str, Any],
    findings: Iterable[Finding],
    sightings: Sightings,
    journal: Iterable[str],
    now: int,
) -> dict[str, Any]:
    """Return plain data; times are ms since 1970."""
    return {
        "written": now,
        "configuration": without_secrets(msgspec.to_builtins(config)),
        "status": dict(status),
        "findings": [
            {"check": one.check, "subject": one.subject, "state": one.state, "text": one.text(), "todo": one.advice()}
            for one in findings
        ],
        "reads": [
            {
                "at": read.at,
                "camera": read.camera,
                "plate": plates.masked(plates.normalise(read.plate or "")),
                "confidence": read.confidence,
                "passage": None if read.passage is None else _passage(read.passage),
            }
            for read in sightings.reads()
        ],
        "passages": [_passage(passage) for passage in sightings.passages()],
        "journal": list(journal),
    }


def _passage(passage: Passage) -> dict[str, Any]:
    """Return what is told of a passage; whose credential it was isn't."""
    return {
        "received": passage.times.received,
        "device": passage.times.device,
        "gate": passage.gate,
        "direction": passage.direction,
        "plate": plates.masked(passage.plate),
        "decision": passage.decision,
        "reason": passage.reason,
        "opened": passage.opened,
        "camera": passage.camera,
        "access_list_version": passage.access_list_version,
    }


def without_secrets(value: Any) -> Any:
    """Return plain data with what may be a secret left out. A path of a file that holds one is none."""
    if isinstance(value, dict):
        return {
            key: _LEFT_OUT if item is not None and _is_secret(str(key)) else without_secrets(item)
            for key, item in value.items()
        }
    if isinstance(value, list):
        return [without_secrets(item) for item in value]
    return _IN_URL.sub(r"\1", value) if isinstance(value, str) else value


def _is_secret(key: str) -> bool:
    words = key.lower().split("_")
    return not _SECRET.isdisjoint(words) and words[-1] != "file"
