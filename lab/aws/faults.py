"""Faults on request, from a seed: calls that lab.aws refuses or fails, and a call after which a caller can be killed.

`PUT /lab/faults` with a JSON object begins them, `DELETE /lab/faults` ends them, `GET /lab/faults` says how many calls
there were since they began. The object:

    {"seed": 7, "share": 0.2, "kinds": ["throttling", "internal", "unavailable"], "spares": "<access key>"}

fails that share of calls, each with one of the kinds. Calls that are signed with the key `spares` always succeed.

    {"hold_after": 12, "spares": "<access key>"}

carries out the 12th call that changes something, and answers neither that nor any later call that comes before the
faults end, so that whoever called can be killed when AWS has done what they don't know of yet.

    {"refreshes_wait": true}

lets instance refreshes start, but make no step before the faults end, so that a test may act in the middle of a roll.

The codes are those of Amazon EC2 API Reference, "Error codes for the Amazon EC2 API" (RequestLimitExceeded,
InternalError, Unavailable, RequestExpired), Amazon S3 API Reference, "Error responses" (SlowDown, InternalError,
ServiceUnavailable, ExpiredToken), and IAM API Reference, "Common Error Types" (ThrottlingException, InternalFailure,
ServiceUnavailable, ExpiredTokenException), which most services share.
"""

from __future__ import annotations

import json
import random
import threading
import urllib.request
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from .actions import called
from .hooks import hooks
from .refusals import refuse

PATH = "/lab/faults"
_READS = ("BatchGet", "Describe", "Get", "Head", "List", "Query", "Scan", "Search")
_OF_EC2 = {
    "throttling": (503, "RequestLimitExceeded"),
    "internal": (500, "InternalError"),
    "unavailable": (503, "Unavailable"),
    "expired": (400, "RequestExpired"),
}
_OF_S3 = {
    "throttling": (503, "SlowDown"),
    "internal": (500, "InternalError"),
    "unavailable": (503, "ServiceUnavailable"),
    "expired": (400, "ExpiredToken"),
}
_OF_OTHERS = {
    "throttling": (400, "ThrottlingException"),
    "internal": (500, "InternalFailure"),
    "unavailable": (503, "ServiceUnavailable"),
    "expired": (403, "ExpiredTokenException"),
}
KINDS = tuple(_OF_OTHERS)


def ask(url: str, method: str, **given: Any) -> dict[str, int]:
    """Begin, end or count faults of the emulator at ``url``; the answer has calls, changes and failed."""
    body = json.dumps(given).encode() if method == "PUT" else None
    request = urllib.request.Request(url + PATH, body, method=method)  # noqa: S310
    with urllib.request.urlopen(request, timeout=30) as answer:  # noqa: S310
        told: dict[str, int] = json.load(answer)
    return told


@dataclass
class _Plan:
    """What was asked for, and how far it is."""

    spares: str = ""
    share: float = 0.0
    kinds: list[str] = field(default_factory=list)
    hold_after: int = 0
    refreshes_wait: bool = False
    source: random.Random = field(default_factory=random.Random)
    calls: int = 0
    changes: int = 0
    failed: int = 0


class Faults:
    """A WSGI application around another one."""

    def __init__(self, application: Callable[[dict[str, Any], Any], Iterable[bytes]]) -> None:
        self._application = application
        self._lock = threading.Lock()
        self._plan: _Plan | None = None

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        if environ["PATH_INFO"] == PATH:
            return self._control(environ, start_response)
        plan = self._plan
        call = called(environ) if plan is not None else None
        if plan is None or call is None or call.key == plan.spares:
            return self._application(environ, start_response)
        with self._lock:
            plan.calls += 1
            kind = plan.source.choice(plan.kinds) if plan.source.random() < plan.share else None
            plan.failed += kind is not None
            plan.changes += kind is None and not call.operation.startswith(_READS)
            holds = 0 < plan.hold_after <= plan.changes
            acts = not holds or (plan.hold_after == plan.changes and not call.operation.startswith(_READS))
        if kind is not None:
            status, code = {"ec2": _OF_EC2, "s3": _OF_S3}.get(call.service, _OF_OTHERS)[kind]
            return refuse(environ, start_response, call.service, status, code, f"This is a fault of the lab ({kind}).")
        answer = self._application(environ, start_response) if acts else []
        if holds:
            # The caller is killed. Its thread, and that of each later call, stay until the emulator ends.
            threading.Event().wait()
        return answer

    def _control(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        method, plan = environ["REQUEST_METHOD"], self._plan
        if method == "PUT":
            given = json.loads(environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0)))
            self._plan = plan = _planned(given)
        elif method == "DELETE":
            self._plan = None
        if method in ("PUT", "DELETE"):
            hooks.refreshes_wait = self._plan is not None and self._plan.refreshes_wait
        told = {"calls": plan.calls, "changes": plan.changes, "failed": plan.failed} if plan else {}
        start_response("200 OK", [("Content-Type", "application/json")])
        return [json.dumps(told).encode()]


def _planned(given: Mapping[str, Any]) -> _Plan:
    kinds = list(given.get("kinds", KINDS[:3]))
    if unknown := set(kinds) - set(KINDS):
        raise ValueError(f"lab.aws knows no faults {sorted(unknown)}")
    return _Plan(
        spares=given.get("spares", ""),
        share=given.get("share", 0.0),
        kinds=kinds,
        hold_after=given.get("hold_after", 0),
        refreshes_wait=given.get("refreshes_wait", False),
        # The same seed has to fail the same calls.
        source=random.Random(given.get("seed", 0)),  # noqa: S311
    )
