"""Progress on the terminal: one line per step, with seconds, and a sign of life while a long step runs."""

import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

SIGN_OF_LIFE_S = 15.0


def say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


@contextmanager
def step(text: str) -> Iterator[None]:
    """Announce a step, repeat it while it lasts, and close it with the seconds it took."""
    start = time.monotonic()
    done = threading.Event()

    def repeat() -> None:
        while not done.wait(SIGN_OF_LIFE_S):
            say(f"  … {text}, {time.monotonic() - start:.0f} s")

    say(f"- {text}")
    thread = threading.Thread(target=repeat, daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()
    say(f"  done in {time.monotonic() - start:.1f} s")
