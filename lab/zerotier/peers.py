"""What a node knows about another node: its key, where its packets come from, and when."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from . import VERSION_TEXT
from .identity import Identity
from .wire import Assembler
from .world import Endpoint, format_endpoint

PATH_ALIVE_MS = 25_000
PROBE_MS = 2_000
PATH_EXPIRED_MS = 155_000
PEER_FORGOTTEN_MS = 500_000
UNKNOWN_VERSION = (-1, -1, -1)
# The public roots, which a node always lists. Nothing is ever sent to them.
PUBLIC_ROOTS = ("62f865ae71", "778cde7190", "cafe04eba9", "cafe9efeb9")


def peer_json(address: str, role: str, version: tuple[int, int, int], latency: int, paths: list[Any]) -> dict[str, Any]:
    """One element of GET /peer."""
    return {
        "address": address,
        "isBonded": False,
        "latency": latency,
        "paths": paths,
        "role": role,
        "tunneled": False,
        "version": ".".join(str(number) for number in version),
        "versionMajor": version[0],
        "versionMinor": version[1],
        "versionRev": version[2],
    }


@dataclass(slots=True)
class Peer:
    """Times are ms since the epoch, 0 for never. ``path`` is where its last direct packet came from."""

    identity: Identity
    key: bytes
    known_since: int
    role: str = "LEAF"
    path: Endpoint | None = None
    last_receive: int = 0
    last_send: int = 0
    last_heard: int = 0
    probed_at: int = 0
    last_hello: int = 0
    last_frame: int = 0
    latency: int = -1
    version: tuple[int, int, int] = UNKNOWN_VERSION
    received: int = 0
    sent: int = 0
    assembler: Assembler = field(default_factory=Assembler)
    tried: dict[Endpoint, int] = field(default_factory=dict)

    @property
    def address(self) -> str:
        return self.identity.address

    def note_probe(self, now: int) -> None:
        """Remember the first question that hasn't been answered yet."""
        if self.probed_at <= self.last_receive:
            self.probed_at = now

    def note_unreachable(self, now: int) -> None:
        """Give the path up until a packet comes from it again: this host can't even send there."""
        self.last_receive = min(self.last_receive, now - PROBE_MS - 1)
        self.probed_at = now - PROBE_MS

    def is_direct(self, now: int) -> bool:
        """True while packets come from the path, and a question about it hasn't been left unanswered."""
        unanswered = self.probed_at > self.last_receive and now - self.probed_at >= PROBE_MS
        return self.path is not None and now - self.last_receive < PATH_ALIVE_MS and not unanswered

    def to_json(self, now: int) -> dict[str, Any]:
        paths = []
        if self.path is not None:
            age = now - self.last_receive
            paths.append(
                {
                    "active": self.is_direct(now),
                    "address": format_endpoint(self.path),
                    "expired": age > PATH_EXPIRED_MS,
                    "lastReceive": self.last_receive,
                    "lastSend": self.last_send,
                    "localPort": 0,
                    "localSocket": int(self.address, 16),
                    "preferred": self.is_direct(now),
                    "trustedPathId": 0,
                }
            )
        return peer_json(self.address, self.role, self.version, self.latency, paths)


def parse_version(value: object) -> tuple[int, int, int]:
    """The version another node says it has; unknown when it says nonsense."""
    if isinstance(value, list) and len(value) == 3 and all(isinstance(n, int) and 0 <= n < 256 for n in value):
        return value[0], value[1], value[2]
    return UNKNOWN_VERSION


def own_version() -> list[int]:
    return [int(number) for number in VERSION_TEXT.split(".")]
