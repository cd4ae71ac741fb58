"""Makes a socket in another network namespace and uses it in this process: it belongs to the namespace in which it was
made, whichever thread uses it later."""

import os
import threading
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


def in_namespace(pid: int, work: Callable[[], T]) -> T:
    """Do something short in the network namespace of a process, in a thread that ends there.

    Raises:
        OSError: the process is gone, or what ``work`` raised.
    """
    done: list[T] = []
    failed: list[Exception] = []

    def enter() -> None:
        try:
            with open(f"/proc/{pid}/ns/net", "rb") as namespace:  # noqa: PTH123 (a handle is needed, not a path)
                os.setns(namespace.fileno(), os.CLONE_NEWNET)
            done.append(work())
        except Exception as error:  # noqa: BLE001 (raised below, in the caller's thread)
            failed.append(error)

    thread = threading.Thread(target=enter)
    thread.start()
    thread.join()
    if failed:
        raise failed[0]
    return done[0]
