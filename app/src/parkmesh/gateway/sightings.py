"""What the cameras read in the last hour and what came of it, for the people who stand at the gate.

Kept in memory only, and bounded: the record of a passage is in the spool. Nothing here waits or fails, because it is
told of every read on its way to the gate.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Collection
from itertools import islice

from msgspec import Struct

from parkmesh.gateway.drivers.types import PlateRead
from parkmesh.protocol.edge import Passage

KEPT_MS = 3_600_000
_MOST = 2_000
"""Reads, and passages: above it the oldest go before their hour is over."""
_LOOK_BACK = 100


class Sighting(Struct):
    """One read: received at ``at`` (ms since 1970), ``plate`` as the camera wrote it. It is ``settled`` when it waits
    no longer; ``passage`` is then what was decided, None where the car had passed already."""

    read_id: int
    at: int
    camera: str
    gate: str
    plate: str | None
    confidence: float | None
    event_id: str
    settled: bool = False
    passage: Passage | None = None

    @property
    def stands_for_passage(self) -> bool:
        """Tell whether the passage was recorded by this read, not by another one of the same car."""
        return self.passage is not None and self.passage.device_event_id == self.event_id


class Sightings:
    """The last hour's reads and passages. ``clock`` gives ms since 1970. ``version`` rises with every change."""

    def __init__(self, clock: Callable[[], int]) -> None:
        self._clock = clock
        self._reads: deque[Sighting] = deque(maxlen=_MOST)
        self._passages: deque[Passage] = deque(maxlen=_MOST)
        self._asked: dict[str, asyncio.Future[Passage]] = {}
        self.version = 0

    def read(self, read_id: int, camera: str, gate: str, plate_read: PlateRead) -> None:
        """Note a read that a gate takes; ``read_id`` is its number in the spool."""
        self.version += 1
        self._forget()
        self._reads.append(
            Sighting(read_id, self._clock(), camera, gate, plate_read.plate, plate_read.confidence, plate_read.event_id)
        )

    def settled(self, read_ids: Collection[int], passage: Passage | None) -> None:
        """Note that nothing more is decided on reads, and the passage that was recorded with it, if any."""
        self.version += 1
        self._forget()
        for sighting in islice(reversed(self._reads), _LOOK_BACK):
            if sighting.read_id in read_ids:
                sighting.settled, sighting.passage = True, passage
        if passage is None:
            return
        self._passages.append(passage)
        asked = self._asked.get(passage.device_event_id or "") if passage.camera is None else None
        if asked is not None and not asked.done():
            asked.set_result(passage)

    async def outcome(self, command_id: str, within_s: float) -> Passage | None:
        """Wait for the passage of a command, None if there is none in time."""
        done = self.of_command(command_id)
        if done is not None:
            return done
        asked = self._asked.setdefault(command_id, asyncio.get_running_loop().create_future())
        try:
            return await asyncio.wait_for(asyncio.shield(asked), within_s)
        except TimeoutError:
            return None
        finally:
            self._asked.pop(command_id, None)

    def of_command(self, command_id: str) -> Passage | None:
        """Return the passage of a command of the last hour."""
        return next(
            (one for one in self.passages() if one.camera is None and one.device_event_id == command_id),
            None,
        )

    def reads(self) -> list[Sighting]:
        """Return the last hour's reads, the newest first."""
        self._forget()
        return list(reversed(self._reads))

    def passages(self) -> list[Passage]:
        """Return the last hour's passages, the newest first."""
        self._forget()
        return list(reversed(self._passages))

    def _forget(self) -> None:
        oldest = self._clock() - KEPT_MS
        while self._reads and self._reads[0].at < oldest:
            self._reads.popleft()
        while self._passages and self._passages[0].times.received < oldest:
            self._passages.popleft()
