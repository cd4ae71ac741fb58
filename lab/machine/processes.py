"""Knowing the lab daemon again: a process is the one we started only if pid, start time and command line all agree.

A pid alone may belong to another process by the time it is read; the lab never signals a process by pid alone.
"""

import json
import os
import signal
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path

PROC = Path("/proc")


@dataclass(frozen=True)
class Identity:
    """`started` is the kernel's start time of the process in clock ticks since boot `boot`."""

    pid: int
    started: int
    boot: str
    command: tuple[str, ...]


def identify(pid: int, proc: Path = PROC) -> Identity | None:
    """The process under a pid now; None when there is none (or only a zombie), or when it is hidden from this user."""
    try:
        stat = (proc / str(pid) / "stat").read_text()
        command = (proc / str(pid) / "cmdline").read_bytes()
        boot = (proc / "sys/kernel/random/boot_id").read_text().strip()
    except (FileNotFoundError, ProcessLookupError, PermissionError):
        return None
    # The second field is the program's name in parentheses and may itself hold spaces or parentheses.
    fields = stat.rpartition(")")[2].split()
    if fields[0] in "ZX":
        return None
    arguments = tuple(os.fsdecode(part) for part in command.split(b"\0")[:-1])
    return Identity(pid=pid, started=int(fields[19]), boot=boot, command=arguments)


def save(path: Path, identity: Identity) -> None:
    temporary = path.with_suffix(".new")
    temporary.write_text(json.dumps(asdict(identity)) + "\n")
    temporary.replace(path)


def load(path: Path) -> Identity | None:
    """The identity in a pid file; None when the file is missing or was cut short by a crash."""
    try:
        data = json.loads(path.read_text())
        return Identity(
            pid=int(data["pid"]),
            started=int(data["started"]),
            boot=str(data["boot"]),
            command=tuple(str(part) for part in data["command"]),
        )
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        return None


def alive(known: Identity | None, proc: Path = PROC) -> bool:
    return known is not None and identify(known.pid, proc) == known


def daemon_command(lab: str, root: Path) -> list[str]:
    """The command line of a lab's daemon; it names lab and clone so that it is recognised among others."""
    return [sys.executable, "-m", "lab", "daemon", "--lab", lab, "--root", str(root)]


def find_daemons(lab: str, root: Path, proc: Path = PROC) -> list[Identity]:
    """Daemons of this lab that run now, also those whose pid file was lost."""
    return [identity for identity, owner in daemons(proc) if owner == (lab, root)]


def daemons(proc: Path = PROC) -> list[tuple[Identity, tuple[str, Path]]]:
    """Every lab daemon that runs on this machine, with the (lab, clone) that its command line names."""
    found = []
    for entry in proc.iterdir():
        if not entry.name.isdigit() or (identity := identify(int(entry.name), proc)) is None:
            continue
        lab, root = identity.command[5:6], identity.command[7:8]
        if lab and root and identity.command[1:] == tuple(daemon_command(lab[0], Path(root[0]))[1:]):
            found.append((identity, (lab[0], Path(root[0]))))
    return found


def stop(known: Identity, patience_s: float = 15.0) -> None:
    """End a process that is still the one we know: ask first, insist after `patience_s`."""
    for number, wait in ((signal.SIGTERM, patience_s), (signal.SIGKILL, 5.0)):
        try:
            handle = os.pidfd_open(known.pid)
        except ProcessLookupError:
            return
        try:
            # The handle keeps meaning this very process, so the comparison cannot go stale before the signal.
            if not alive(known):
                return
            signal.pidfd_send_signal(handle, number)
        except ProcessLookupError:
            return
        finally:
            os.close(handle)
        deadline = time.monotonic() + wait
        while time.monotonic() < deadline:
            if not alive(known):
                return
            time.sleep(0.05)
