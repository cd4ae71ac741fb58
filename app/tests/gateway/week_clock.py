"""The time of a gateway in a drill: the real one, moved by ``shift``, and what its machine's clock shows of it.

``python week_clock.py CONFIG CLOCK`` runs a gateway by the times of the file CLOCK, which the drill writes: two numbers
(ms), ``shift`` and ``wrong``, by which the machine's clock is wrong.
"""

import asyncio
import logging
import mmap
import struct
import sys
from pathlib import Path

from parkmesh.gateway import agent
from parkmesh.gateway.config import load, load_token
from parkmesh.gateway.trusted_clock import TrustedClock

LOOK_S = 0.5
"""How often the agent looks after its disk, in the place of five seconds."""
_TIMES = struct.Struct("<qq")


class Clock:
    def __init__(self, path: Path, *, new: bool = False) -> None:
        if new:
            path.write_bytes(bytes(_TIMES.size))
        with path.open("r+b") as file:
            self._map = mmap.mmap(file.fileno(), _TIMES.size)

    def set(self, shift: int, wrong: int) -> None:
        self._map[:] = _TIMES.pack(shift, wrong)

    @property
    def shift(self) -> int:
        return int(_TIMES.unpack(self._map)[0])

    @property
    def wrong(self) -> int:
        return int(_TIMES.unpack(self._map)[1])

    def now(self) -> int:
        """Return the drill's time in ms since 1970."""
        return agent.now_ms() + self.shift


def main() -> None:
    config, clock = load(Path(sys.argv[1])), Clock(Path(sys.argv[2]))
    elapsed = agent.elapsed_ms

    class Drilled(TrustedClock):
        def trust(self, server_time: int) -> int:
            return super().trust(server_time + clock.shift)

    agent.TrustedClock = Drilled  # type: ignore[misc]
    agent._DISK_CHECK_S = LOOK_S
    agent.elapsed_ms = lambda: elapsed() + clock.shift
    logging.basicConfig(level="WARNING", format="%(levelname)s %(message)s")
    asyncio.run(agent.run(config, load_token(Path(config.token_file)), machine=lambda: clock.now() + clock.wrong))


if __name__ == "__main__":
    main()
