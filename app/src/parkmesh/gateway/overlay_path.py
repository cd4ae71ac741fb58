"""Whether the overlay reaches the servers directly or through a relay, by the local API of the overlay's daemon.

``GET /peer`` of 127.0.0.1:9993 with ``X-ZT1-Auth`` lists peers with their paths (ZeroTier One, service/README.md,
*Local Service API*). A peer without an active path is reached through a root. Which peer a server is says the kernel:
the MAC address that it learned for the server's overlay address holds the peer's address (node/MAC.hpp).
"""

import http.client
from pathlib import Path
from typing import Literal, TypeVar

import msgspec
from msgspec import Struct

T = TypeVar("T")

PORT = 9993
_TIMEOUT_S = 3.0
TOKEN = Path("/var/lib/zerotier-one/authtoken.secret")
NEIGHBOURS = Path("/proc/net/arp")

How = Literal["direct", "relayed", "unknown"]


class _Route(Struct):
    active: bool = False
    expired: bool = False


class _Peer(Struct):
    address: str
    paths: list[_Route] = []


class _Network(Struct):
    nwid: str = ""
    status: str = ""
    portDeviceName: str = ""


class _Daemon(Struct):
    online: bool = False


class Overlay(Struct, frozen=True):
    """``online``: the daemon reaches a root. ``networks`` are the states of its networks by id; ``paths`` how each
    server's overlay address is reached."""

    online: bool
    networks: dict[str, str]
    paths: dict[str, How]


class OverlayError(Exception):
    """The daemon doesn't tell; the text says why."""


def look(servers: list[str], *, token: Path = TOKEN, neighbours: Path = NEIGHBOURS, port: int = PORT) -> Overlay | None:
    """Return how the overlay addresses ``servers`` are reached, None where the host has no such daemon.

    A server must have been called a moment before, or the kernel doesn't know its neighbour. Raises OverlayError.
    """
    try:
        secret = token.read_text(encoding="ascii").strip()
    except FileNotFoundError:
        return None
    except (OSError, UnicodeDecodeError) as error:
        raise OverlayError(f"{token} can't be read: {getattr(error, 'strerror', error)}") from None
    daemon = _ask(port, "/status", secret, _Daemon)
    networks = _ask(port, "/network", secret, list[_Network])
    peers = {peer.address: peer for peer in _ask(port, "/peer", secret, list[_Peer])}
    known = {one.portDeviceName: one.nwid for one in networks}
    told = _neighbours(neighbours)
    paths: dict[str, How] = {}
    for server in servers:
        device, mac = told.get(server, ("", ""))
        peer = peers.get(member(mac, known[device])) if device in known else None
        paths[server] = "unknown" if peer is None else path_of(peer)
    return Overlay(daemon.online, {one.nwid: one.status for one in networks}, paths)


def path_of(peer: _Peer) -> How:
    return "direct" if any(path.active and not path.expired for path in peer.paths) else "relayed"


def member(mac: str, network: str) -> str:
    """Return the address of the member that has this MAC address in a network (16 hexadecimal digits)."""
    try:
        low, nwid = int(mac.replace(":", ""), 16) & 0xFF_FFFF_FFFF, int(network, 16)
    except ValueError:
        return ""
    for place, shift in enumerate(range(8, 48, 8)):
        low ^= (nwid >> shift & 0xFF) << (32 - 8 * place)
    return f"{low:010x}"


def _neighbours(path: Path) -> dict[str, tuple[str, str]]:
    """Return device and MAC address of each address that the kernel knows."""
    try:
        lines = path.read_text(encoding="ascii", errors="replace").splitlines()[1:]
    except OSError:
        return {}
    rows = [line.split() for line in lines]
    return {row[0]: (row[5], row[3]) for row in rows if len(row) >= 6 and row[2] != "0x0"}


def _ask(port: int, path: str, secret: str, kind: type[T]) -> T:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=_TIMEOUT_S)
    try:
        connection.request("GET", path, headers={"X-ZT1-Auth": secret})
        response = connection.getresponse()
        content = response.read()
        if response.status != 200:
            raise OverlayError(f"the overlay's daemon answers {path} with HTTP {response.status}")
        return msgspec.json.decode(content, type=kind)
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise OverlayError(f"the overlay's daemon doesn't answer {path}: {error or type(error).__name__}") from None
    finally:
        connection.close()
