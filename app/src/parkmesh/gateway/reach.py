"""Whether the relays can be reached: a connection and nothing more, so that asking can move no barrier."""

import socket
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import urlsplit

from parkmesh.gateway.gates import Gate, Relay

_TIMEOUT_S = 2.0
_PORTS = {"https": 443, "modbus": 502}


def unreachable(gates: Sequence[Gate]) -> dict[str, str | None]:
    """Return for each gate's name why no connection to its relay is had, None where one is."""
    if not gates:
        return {}
    with ThreadPoolExecutor(min(len(gates), 16)) as pool:
        answers = pool.map(lambda gate: _fault(gate.relay), gates)
        return dict(zip((gate.name for gate in gates), answers, strict=True))


def _fault(relay: Relay) -> str | None:
    if relay.kind == "gpio":
        return None if Path(relay.chip).is_char_device() else f"there is no {relay.chip}"
    parts = urlsplit(relay.url)
    try:
        port = parts.port or _PORTS.get(parts.scheme, 80)
        socket.create_connection((parts.hostname or "", port), timeout=_TIMEOUT_S).close()
    except (OSError, ValueError) as error:
        return f"no connection to {relay.url}: {getattr(error, 'strerror', None) or error}"
    return None
