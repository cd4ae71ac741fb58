"""Listening sockets of the server's two applications."""

import asyncio
import logging
import socket
from ipaddress import ip_address
from pathlib import Path

# Not all Pythons name them: numbers of linux/in.h and linux/in6.h.
_IP_FREEBIND = 15
_IPV6_FREEBIND = 78
POLL_S = 0.5
REMIND_S = 60.0

_log = logging.getLogger(__name__)


def listen(host: str, port: int, *, before_up: bool = False) -> socket.socket:
    """Bind and return a TCP socket; port 0 takes a free one.

    ``before_up`` allows an address that no interface has yet: the overlay's comes up after the server. Raises
    ``OSError`` with a message that names the address.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # Named, because asyncio sends small answers at once (TCP_NODELAY) only where it reads that this is TCP; else the
    # second part of an answer waits 40 ms for the other side's delayed acknowledgement of the first.
    sock = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if before_up and family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, _IPV6_FREEBIND, 1)
        elif before_up:
            sock.setsockopt(socket.IPPROTO_IP, _IP_FREEBIND, 1)
        sock.bind((host, port))
    except OSError as error:
        sock.close()
        raise OSError(error.errno, f"cannot listen on {host} port {port}: {error.strerror or error}") from None
    return sock


def address_in(file: Path) -> str | None:
    """Return the IP address that a file has; None without the file or an address in it."""
    try:
        text = file.read_text().strip()
        ip_address(text)
    except (OSError, ValueError):
        return None
    return text


async def listen_when_known(file: Path, port: int) -> socket.socket:
    """Bind and return the edge API's socket once ``file`` has its address: once the instance holds an overlay slot.

    Meanwhile the log says every minute that gateways can't reach this server.
    """
    waited = 0.0
    while True:
        if (address := address_in(file)) is not None:
            try:
                return listen(address, port, before_up=True)
            except OSError as error:
                cause = str(error)
        else:
            cause = "this instance holds no overlay slot yet"
        if waited % REMIND_S == 0 and waited:
            _log.warning("gateways can't reach this server", extra={"fields": {"cause": cause, "seconds": int(waited)}})
        await asyncio.sleep(POLL_S)
        waited += POLL_S
