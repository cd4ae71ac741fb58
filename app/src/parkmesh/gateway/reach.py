"""Whether the relays can be reached: a connection and nothing more, so that asking can move no barrier."""

import socket
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import urlsplit

from parkmesh.gateway.config import Gate

_TIMEOUT_S = 2.0


def unreachable(gates: Sequence[Gate]) -> dict[str, str | None]:
    """Return for each gate's name why no connection to its relay is had, None where one is."""
    if not gates:
        return {}
    with ThreadPoolExecutor(min(len(gates), 16)) as pool:
        answers = pool.map(lambda gate: _fault(gate.relay.url), gates)
        return dict(zip((gate.name for gate in gates), answers, strict=True))


def _fault(url: str) -> str | None:
    parts = urlsplit(url)
    try:
        port = parts.port or (443 if parts.scheme == "https" else 80)
        socket.create_connection((parts.hostname or "", port), timeout=_TIMEOUT_S).close()
    except (OSError, ValueError) as error:
        return f"no connection to {url}: {getattr(error, 'strerror', None) or error}"
    return None
