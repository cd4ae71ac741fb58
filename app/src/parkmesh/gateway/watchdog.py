"""What the agent tells systemd: that it has started, and again and again that it works.

systemd gives a unit with ``Type=notify`` the address of a datagram socket, and with ``WatchdogSec`` the time within
which it must hear of it (sd_notify(3), sd_watchdog_enabled(3)). A process that hangs tells nothing, and is started
again.
"""

import asyncio
import os
import socket
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress

READY, STOPPING, ALIVE = "READY=1", "STOPPING=1", "WATCHDOG=1"
_TIMES = 4
"""How often the agent looks at itself in the time that systemd waits."""


class Watchdog:
    """The service manager that started this process, as ``environment`` (of the process ``pid``) names it; without one
    nothing is told."""

    def __init__(self, environment: Mapping[str, str], pid: int) -> None:
        self._address = environment.get("NOTIFY_SOCKET", "")
        time_us, of = environment.get("WATCHDOG_USEC", ""), environment.get("WATCHDOG_PID", "")
        mine = not of or of == str(pid)
        self.within_s = int(time_us) / 1e6 if self._address and mine and time_us.isdigit() else 0.0
        """Seconds within which the service manager must hear of us, 0 where it doesn't wait for it."""

    def tell(self, state: str) -> None:
        """Send a state. One that can't be sent is no reason to end: systemd does what it does without."""
        if self._address.startswith(("/", "@")):
            # A name that begins with @ is none of a file: it is in the kernel's own list of names.
            address = f"\0{self._address[1:]}" if self._address[0] == "@" else self._address
            with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sender:
                sender.setblocking(False)
                sender.sendto(state.encode(), address)

    async def keep(self, works: Callable[[], Awaitable[bool]]) -> None:
        """Say that we are alive as long as ``works`` says so in time. Runs until cancelled."""
        if not self.within_s:
            await asyncio.Event().wait()
        turn_s = self.within_s / _TIMES
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(2 * turn_s):
                    if await works():
                        self.tell(ALIVE)
            await asyncio.sleep(turn_s)


def of_this_process() -> Watchdog:
    return Watchdog(os.environ, os.getpid())
