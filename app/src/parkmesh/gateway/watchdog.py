"""What the agent tells systemd: that it has started, and again and again that it works.

systemd gives a unit with ``Type=notify`` the address of a datagram socket, and with ``WatchdogSec`` the time within
which it must hear of it (sd_notify(3), sd_watchdog_enabled(3)). A process that hangs tells nothing, and is started
again. It also keeps a listening socket while one process is replaced by the next (FileDescriptorStoreMax,
sd_pid_notify_with_fds(3), sd_listen_fds(3)).
"""

import array
import asyncio
import os
import socket
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress

READY, STOPPING, ALIVE = "READY=1", "STOPPING=1", "WATCHDOG=1"
_FIRST_KEPT = 3
"""The first of the files that the service manager gives a process (SD_LISTEN_FDS_START)."""
_TIMES = 4
"""How often the agent looks at itself in the time that systemd waits."""


class Watchdog:
    """The service manager that started this process, as ``environment`` (of the process ``pid``) names it; without one
    nothing is told."""

    def __init__(self, environment: Mapping[str, str], pid: int) -> None:
        self._address = environment.get("NOTIFY_SOCKET", "")
        time_us, of = environment.get("WATCHDOG_USEC", ""), environment.get("WATCHDOG_PID", "")
        mine = not of or of == str(pid)
        count, given_to = environment.get("LISTEN_FDS", ""), environment.get("LISTEN_PID", "")
        names = environment.get("LISTEN_FDNAMES", "").split(":")
        given = int(count) if given_to == str(pid) and count.isdigit() else 0
        self._names = [*names, *([""] * given)][:given]
        self.within_s = int(time_us) / 1e6 if self._address and mine and time_us.isdigit() else 0.0
        """Seconds within which the service manager must hear of us, 0 where it doesn't wait for it."""

    def tell(self, state: str) -> None:
        """Send a state. One that can't be sent is no reason to end: systemd does what it does without."""
        self._send(state, [])

    def kept(self, name: str) -> socket.socket | None:
        """Return the socket that an earlier process left with the service manager under this name; let it drop those
        of other names, and close them. Only the first call of a process finds any."""
        found: socket.socket | None = None
        for number, known in enumerate(self._names, _FIRST_KEPT):
            try:
                sock = socket.socket(fileno=number)
            except OSError:
                continue
            sock.set_inheritable(False)
            if known == name and found is None:
                found = sock
            else:
                self._send(f"FDSTOREREMOVE=1\nFDNAME={known}", [])
                sock.close()
        self._names = []
        return found

    def keep_open(self, name: str, sock: socket.socket) -> None:
        """Leave a listening socket with the service manager: who connects while this process is replaced by the next
        waits for it, and isn't refused."""
        self._send(f"FDSTORE=1\nFDNAME={name}", [sock.fileno()])

    def _send(self, state: str, files: list[int]) -> None:
        if self._address.startswith(("/", "@")):
            # A name that begins with @ is none of a file: it is in the kernel's own list of names.
            address = f"\0{self._address[1:]}" if self._address[0] == "@" else self._address
            with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sender:
                sender.setblocking(False)
                # socket.send_fds() of Python 3.11 to 3.13 ignores its address.
                rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", files))] if files else []
                sender.sendmsg([state.encode()], rights, 0, address)

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
