"""What was sent to the listener and reached no camera: counted by sender, so that a camera set up wrong is seen.

A camera that posts to a mistyped address shows nothing itself, and its gate stays shut. Here a person finds it by its
address. Secret parts of addresses are left out, also those with a typing error.
"""

import logging
import re
from collections.abc import Callable, Collection
from typing import Literal

import msgspec
from msgspec import Struct

log = logging.getLogger("parkmesh.gateway")

Kind = Literal[
    "unknown_address",
    "unknown_camera",
    "unknown_channel",
    "unknown_reader",
    "wrong_method",
    "wrong_login",
    "no_login",
    "no_tls",
    "test",
]

_TOLD: dict[Kind, str] = {
    "unknown_address": "no camera posts to such an address",
    "unknown_camera": "there is no such camera, or the secret part of its address is wrong",
    "unknown_channel": "no camera has this channel of the recorder",
    "unknown_reader": "there is no such reader of codes, or the secret part of its address is wrong",
    "wrong_method": "a camera must send its messages by POST",
    "wrong_login": "its user or its password is wrong",
    "no_login": "it doesn't log in, and this address asks for it",
    "no_tls": "this address takes messages over TLS only",
    "test": "a test without a message; the address is right",
}
_SENDERS = 100
_READER = re.compile(r"[a-z][a-z0-9-]{0,62}")


class Stray(Struct):
    """What one sender sent in one way; times in ms since 1970, ``path``, ``method`` and ``channel`` (of a recorder)
    those of the last time."""

    sender: str
    kind: Kind
    method: str
    path: str
    count: int
    first: int
    last: int
    channel: str = ""


class Strays:
    """Counts what reached no camera. Bounded: of more than ``_SENDERS`` senders and kinds the one unheard longest goes,
    and only ``total`` still has it. ``clock`` gives ms since 1970; ``secrets`` are never shown."""

    def __init__(self, clock: Callable[[], int], secrets: Collection[str] = ()) -> None:
        self._clock, self._secrets = clock, frozenset(secrets)
        self._known: dict[tuple[str, Kind], Stray] = {}
        self.total = 0

    def note(self, kind: Kind, sender: str, method: str, path: str, channel: str = "") -> None:
        """Count a request; its first of a sender and kind is logged, so that a camera that goes on fills no journal."""
        now, method, path = self._clock(), _printable(method)[:16], _shown(path, self._secrets)
        channel = _printable(channel)[:100]
        # A recorder may well have cameras at no gate.
        self.total += kind not in ("test", "unknown_channel")
        stray = self._known.pop((sender, kind), None)
        if stray is None:
            level = logging.INFO if kind in ("test", "unknown_channel") else logging.WARNING
            log.log(level, "%s sent %s %s: %s (told once, counted in the status)", sender, method, path, _TOLD[kind])
            if len(self._known) >= _SENDERS:
                del self._known[next(iter(self._known))]
            stray = Stray(sender, kind, method, path, 0, now, now)
        stray.method, stray.path, stray.count, stray.last = method, path, stray.count + 1, now
        stray.channel = channel
        self._known[sender, kind] = stray  # at the end: the first is the one unheard longest

    def document(self) -> dict[str, object]:
        """Return what the status shows."""
        return {"total": self.total, "senders": msgspec.to_builtins(self.newest())}

    def newest(self) -> list[Stray]:
        """Return what is known, the latest first."""
        return list(reversed(self._known.values()))


def _printable(text: str) -> str:
    return "".join(char if " " <= char <= "~" else "?" for char in text)


def _shown(path: str, secrets: Collection[str]) -> str:
    """Return a path for people: what may be the secret part of a camera's address is left out, mistyped or not."""
    parts = _printable(path)[:200].split("/")
    for place, part in enumerate(parts):
        # A camera's name follows ``cameras``, a reader's ``readers``. Other parts that aren't in every address may be a
        # secret, and what a scanner puts into the address may be the code.
        before = parts[place - 1] if place else ""
        name = len(part) <= 63 if before == "cameras" else before == "readers" and bool(_READER.fullmatch(part))
        name = name and part not in secrets
        if part not in ("", "cameras", "events", "readers", "codes") and not name:
            parts[place] = "…"
    return "/".join(parts)
