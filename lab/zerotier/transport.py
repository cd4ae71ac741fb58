"""UDP sockets of a node: bound once, read in bursts, written without waiting."""

from __future__ import annotations

import errno
import ipaddress
import json
import socket
import subprocess
from collections.abc import Callable

from .coercion import IPAddress
from .world import Endpoint

_BUFFER_BYTES = 4 << 20
_BURST = 64
_SO_SNDBUFFORCE, _SO_RCVBUFFORCE = 32, 33
_IP_MTU_DISCOVER, _IPV6_MTU_DISCOVER, _PMTUDISC_DONT = 10, 23, 0


def local_addresses() -> list[str]:
    """This host's global addresses, without loopback and overlay devices; empty where iproute2 can't say."""
    try:
        done = subprocess.run(
            ["ip", "-j", "addr", "show", "up", "scope", "global"],
            capture_output=True,
            text=True,
            check=True,
            timeout=10,
        )
        links = json.loads(done.stdout)
    except (OSError, ValueError, subprocess.SubprocessError):
        return []
    found = []
    for link in links:
        name = link.get("ifname", "")
        if not (name == "lo" or (name.startswith("zt") and len(name) == 10)):
            found += [item["local"] for item in link.get("addr_info", []) if "local" in item]
    return found


def _open(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    udp = socket.socket(family, socket.SOCK_DGRAM)
    try:
        udp.setblocking(False)
        for forced, plain in ((_SO_RCVBUFFORCE, socket.SO_RCVBUF), (_SO_SNDBUFFORCE, socket.SO_SNDBUF)):
            try:
                udp.setsockopt(socket.SOL_SOCKET, forced, _BUFFER_BYTES)
            except OSError:
                udp.setsockopt(socket.SOL_SOCKET, plain, _BUFFER_BYTES)
        # Frames are larger than a usual link's MTU: the kernel fragments instead of refusing.
        if family == socket.AF_INET6:
            udp.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            udp.setsockopt(socket.IPPROTO_IPV6, _IPV6_MTU_DISCOVER, _PMTUDISC_DONT)
        else:
            udp.setsockopt(socket.IPPROTO_IP, _IP_MTU_DISCOVER, _PMTUDISC_DONT)
        udp.bind((host, port))
    except OSError:
        udp.close()
        raise
    return udp


class Transport:
    """All UDP sockets of one node on one port."""

    def __init__(self, bind: tuple[IPAddress, ...], port: int) -> None:
        """Open the sockets; raises OSError when the port is taken or an address isn't this host's."""
        self.sockets: list[socket.socket] = []
        self.sent_bytes = self.received_bytes = 0
        for host in [str(address) for address in bind] or ["0.0.0.0", "::"]:  # noqa: S104 - peers come from anywhere
            try:
                self.sockets.append(_open(host, port))
            except OSError as error:
                if host == "::" and error.errno in (errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL):
                    continue
                self.close()
                raise
        self._by_family = {udp.family: udp for udp in reversed(self.sockets)}

    def close(self) -> None:
        for udp in self.sockets:
            udp.close()

    def send(self, packet: bytes, endpoint: Endpoint) -> bool:
        """Send one packet; False when this host has no way there. A full buffer loses the packet as a network may."""
        udp = self._by_family.get(socket.AF_INET6 if ":" in endpoint[0] else socket.AF_INET)
        if udp is None:
            return False
        try:
            udp.sendto(packet, endpoint)
        except BlockingIOError:
            return True
        except OSError as error:
            return error.errno == errno.ENOBUFS
        self.sent_bytes += len(packet)
        return True

    def receive(self, udp: socket.socket, handle: Callable[[bytes, Endpoint], None]) -> None:
        """Hand over the packets that are waiting, a limited number at a time."""
        for _ in range(_BURST):
            try:
                packet, source = udp.recvfrom(65535)
            except BlockingIOError:
                return
            except OSError:
                continue  # an ICMP error of an earlier packet
            self.received_bytes += len(packet)
            handle(packet, (source[0], source[1]))


def is_tryable(endpoint: Endpoint) -> bool:
    """Endpoints another node names are tried only where a node can be: no group, loopback or zero address."""
    address = ipaddress.ip_address(endpoint[0])
    return not (address.is_multicast or address.is_loopback or address.is_unspecified or address.is_reserved)
