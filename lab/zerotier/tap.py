"""The TAP device of one network, and what iproute2 is asked to do with it."""

from __future__ import annotations

import fcntl
import ipaddress
import os
import struct
import subprocess
from collections.abc import Sequence
from pathlib import Path

_TUNSETIFF = 0x400454CA
_IFF_TAP, _IFF_NO_PI = 0x0002, 0x1000
_DEVICE = "/dev/net/tun"
ROUTE_METRIC = "5000"


class TapError(OSError):
    """The kernel gave no device, or iproute2 refused a command."""


def run_ip(commands: Sequence[str], *, force: bool = False) -> None:
    """Run `ip` commands in one batch; ``force`` goes on after a failing one. Raises TapError when one failed."""
    if not commands:
        return
    arguments = ["ip", *(["-force"] if force else []), "-batch", "-"]
    try:
        done = subprocess.run(
            arguments, input="\n".join(commands) + "\n", capture_output=True, text=True, check=False, timeout=20
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise TapError(f"ip can't be run: {error}") from error
    if done.returncode != 0:
        raise TapError(f"ip failed: {done.stderr.strip()} (commands: {'; '.join(commands)})")


class Tap:
    """One device; frames are read from and written to ``descriptor`` without blocking."""

    def __init__(self, name: str, mac: bytes, mtu: int) -> None:
        self.name = name
        try:
            self.descriptor = os.open(_DEVICE, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError as error:
            raise TapError(f"{_DEVICE} can't be opened: {error.strerror}") from error
        try:
            fcntl.ioctl(self.descriptor, _TUNSETIFF, struct.pack("16sH22x", name.encode(), _IFF_TAP | _IFF_NO_PI))
            run_ip([f"link set dev {name} address {mac.hex(':')} mtu {mtu}", f"link set dev {name} up"])
        except OSError as error:
            os.close(self.descriptor)
            raise TapError(f"device {name} can't be made: {error}") from error
        self.mtu = mtu
        self._addresses: list[str] = []
        self._routes: list[tuple[str, str]] = []

    def close(self) -> None:
        """Give the device back; the kernel removes it with its addresses and routes."""
        os.close(self.descriptor)

    def configure(self, mtu: int, addresses: Sequence[str], routes: Sequence[tuple[str, str]]) -> None:
        """Bring MTU, addresses (`ip/bits`) and routes (target, via) to what is wanted; raises TapError.

        Only what this object has set before is ever removed.
        """
        commands = []
        if mtu != self.mtu:
            commands.append(f"link set dev {self.name} mtu {mtu}")
        for target, via in self._routes:
            if (target, via) not in routes:
                commands.append(f"route del {target} via {via} dev {self.name} metric {ROUTE_METRIC}")
        commands += [f"addr del {text} dev {self.name}" for text in self._addresses if text not in addresses]
        for text in addresses:
            if text not in self._addresses:
                version = ipaddress.ip_interface(text).version
                extra = " brd +" if version == 4 and not text.endswith(("/31", "/32")) else ""
                nodad = " nodad" if version == 6 else ""
                commands.append(f"addr replace {text}{extra} dev {self.name}{nodad}")
        # A deleted address takes routes with it, so all wanted ones are written again when anything changed.
        if commands or list(routes) != self._routes:
            for target, via in routes:
                commands.append(f"route replace {target} via {via} dev {self.name} proto static metric {ROUTE_METRIC}")
        self.mtu, self._addresses, self._routes = mtu, list(addresses), list(routes)
        run_ip(commands, force=True)

    def multicast_groups(self) -> list[str]:
        """The MAC addresses that the kernel listens to on this device."""
        groups = []
        for line in Path("/proc/net/dev_mcast").read_text().splitlines():
            fields = line.split()
            if len(fields) == 5 and fields[1] == self.name:
                groups.append(bytes.fromhex(fields[4]).hex(":"))
        return sorted(groups)
