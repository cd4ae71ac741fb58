"""Linux counts a user's inotify instances over all containers: 128 of them are used up by 32 booted hosts.

A host whose systemd finds none ends at once, or boots without its services (seen with systemd 257). The limit is in
fs.inotify.max_user_instances (inotify(7)).
"""

import ctypes
import os
from pathlib import Path

LIMIT = Path("/proc/sys/fs/inotify/max_user_instances")
ENOUGH = 1024
"""For what a machine of the lab's size can carry: 256 hosts."""


def free(most: int) -> int:
    """How many instances this user can still have, up to `most`. The kernel doesn't tell: it is tried."""
    start = ctypes.CDLL(None).inotify_init1
    taken: list[int] = []
    try:
        while len(taken) < most and (handle := start(os.O_CLOEXEC)) >= 0:
            taken.append(handle)
        return len(taken)
    finally:
        for handle in taken:
            os.close(handle)


def may_raise(limit: Path = LIMIT) -> bool:
    """Whether the limit is low and this user may write it."""
    return limit.exists() and int(limit.read_text()) < ENOUGH and os.access(limit, os.W_OK)


def raise_limit(limit: Path = LIMIT) -> str | None:
    """Set a limit that is low to ENOUGH, until the next boot; returns what was done, None for nothing.

    Where it may not be set, as in a container without privileges, the preflight tells how many instances are left.
    """
    if not may_raise(limit):
        return None
    before = int(limit.read_text())
    try:
        limit.write_text(f"{ENOUGH}\n")
    except OSError:
        return None
    return f"set fs.inotify.max_user_instances to {ENOUGH} until the next boot: {before} are too few for many hosts"
