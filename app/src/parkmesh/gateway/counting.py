"""Counts the vehicles that go in and out, by the loops and light barriers of the configuration's counters.

What a counter tells are totals since it began. So nothing is lost while the line is down, and nothing counts twice. A
vehicle between two detectors while the agent starts is missed.
"""

import logging
from collections.abc import Callable
from typing import Any

import msgspec
from msgspec import Struct

from parkmesh.gateway import mapping as paths
from parkmesh.gateway.counters import Counter, Detector, Point
from parkmesh.gateway.crossing import Lane, Pair, Side
from parkmesh.gateway.drivers import camera_values
from parkmesh.gateway.drivers.types import PoisonError
from parkmesh.protocol.edge import Count, CounterReading, Direction, Millis

log = logging.getLogger("parkmesh.gateway")

STATE = "counters"
"""Where the spool keeps the totals."""
_BROKER_AWAY_MS = 60_000
"""For so long a broker may be away, as for its restart, and the counters still count as known."""
_ONLINE, _OFFLINE = ("online", "true", "on", "1"), ("offline", "false", "off", "0")


class Total(Struct):
    """What a counter has counted since ``since`` (ms since 1970); ``told`` is when a detector spoke last, 0: never."""

    since: Millis
    entries: Count = 0
    exits: Count = 0
    told: Millis = 0

    def count(self, direction: Direction) -> None:
        if direction == "entry":
            self.entries += 1
        else:
            self.exits += 1


class _Seen:
    """A detector's place: which counter's point it belongs to, and on which side of a pair."""

    def __init__(self, counter: Counter, detector: Detector, saw: Callable[[bool], Direction | None]) -> None:
        self.counter, self.detector, self.saw = counter, detector, saw


class Counting:
    """``stored`` is what ``state`` gave before, None where nothing was kept. ``clock`` gives ms since 1970."""

    def __init__(
        self, counters: list[Counter], silence_s: float, stored: bytes | None, *, clock: Callable[[], int]
    ) -> None:
        self._counters, self._silence_s, self._clock = {one.name: one for one in counters}, silence_s, clock
        kept = _read(stored)
        self._totals = {name: kept.get(name) or Total(clock()) for name in self._counters}
        self._heard = dict.fromkeys(self._counters, clock())
        self._offline: set[tuple[str, str]] = set()
        self._away_since: int | None = clock()
        self._by_topic: dict[str, list[_Seen]] = {}
        self._online: dict[str, list[str]] = {}
        for counter in counters:
            for point in counter.points:
                self._place(counter, point)

    def _place(self, counter: Counter, point: Point) -> None:
        if point.detector is not None and point.direction is not None:
            lane = Lane(point.direction)
            self._seen(counter, point.detector, lane.saw)
        elif point.outside is not None and point.inside is not None:
            pair = Pair()
            sides: dict[Side, Detector] = {"outside": point.outside, "inside": point.inside}
            for side, detector in sides.items():
                self._seen(counter, detector, lambda covered, side=side: pair.saw(side, covered))  # type: ignore[misc]
        for detector in point.detectors:
            if detector.online is not None and counter.name not in self._online.setdefault(detector.online, []):
                self._online[detector.online].append(counter.name)

    def _seen(self, counter: Counter, detector: Detector, saw: Callable[[bool], Direction | None]) -> None:
        self._by_topic.setdefault(detector.topic, []).append(_Seen(counter, detector, saw))

    @property
    def topics(self) -> list[str]:
        """The topics of the broker that it needs."""
        return list(dict.fromkeys([*self._by_topic, *self._online]))

    def connected(self, to_broker: bool) -> None:
        """Note whether the broker is there: what detectors say while it isn't is lost."""
        if to_broker:
            self._away_since = None
        elif self._away_since is None:
            self._away_since = self._clock()

    def take(self, topic: str, payload: bytes) -> bool:
        """Take a message of one of the topics; tell whether a total has changed. Raises PoisonError."""
        now = self._clock()
        if topic in self._online:
            self._hear_online(topic, payload, now)
        changed = False
        for seen in self._by_topic.get(topic, ()):
            covered = _covered(seen.detector, payload)
            self._hear(seen.counter.name, now)
            if covered is None:
                continue
            passed = seen.saw(covered)
            if passed is not None:
                self._totals[seen.counter.name].count(passed)
                log.info("counter %s: %s", seen.counter.name, passed)
                changed = True
        return changed

    def _hear(self, counter: str, now: int) -> None:
        self._heard[counter] = now
        self._totals[counter].told = now

    def _hear_online(self, topic: str, payload: bytes, now: int) -> None:
        word = payload.decode(errors="replace").strip().casefold()
        for counter in self._online[topic]:
            if word in _OFFLINE:
                if (counter, topic) not in self._offline:
                    log.warning("counter %s: %s says that it is offline: vehicles may be missed", counter, topic)
                self._offline.add((counter, topic))
            elif word in _ONLINE:
                self._offline.discard((counter, topic))
                self._hear(counter, now)

    def known(self, name: str) -> bool:
        """Tell whether a counter's number can be believed: it isn't silent, its detectors and the broker are there."""
        silence_s, now = self._counters[name].silence_s, self._clock()
        limit_ms = int((self._silence_s if silence_s is None else silence_s) * 1000)
        if self._away_since is not None and now - self._away_since > _BROKER_AWAY_MS:
            return False
        return self._heard[name] >= now - limit_ms and all(one != name for one, _ in self._offline)

    def silent(self) -> list[str]:
        """Return the counters whose number can't be believed."""
        return sorted(name for name in self._counters if not self.known(name))

    def readings(self) -> list[CounterReading]:
        """Return what each counter says, for the server."""
        return [
            CounterReading(
                name=name,
                since=total.since,
                entries=total.entries,
                exits=total.exits,
                known=self.known(name),
                told=total.told or None,
                capacity=self._counters[name].capacity,
            )
            for name, total in self._totals.items()
        ]

    def state(self) -> bytes:
        """Return what has to be kept over a restart."""
        return msgspec.json.encode(self._totals)


def _read(stored: bytes | None) -> dict[str, Total]:
    if stored is None:
        return {}
    try:
        return msgspec.json.decode(stored, type=dict[str, Total])
    except (msgspec.DecodeError, UnicodeDecodeError):
        # A new count begins; the server goes on from where the last one was.
        return {}


def _covered(detector: Detector, payload: bytes) -> bool | None:
    """Return a detector's state, None for a message without one. Raises PoisonError for a word that means neither."""
    if detector.field is None:
        word: str | None = payload.decode(errors="replace").strip() or None
    else:
        try:
            document: Any = msgspec.json.decode(payload)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise PoisonError(f"not a message in JSON: {error}") from None
        word = camera_values.text(paths.one(document, document, detector.field))
    if word is None:
        return None
    if word.casefold() in {one.casefold() for one in detector.covered}:
        return True
    if word.casefold() in {one.casefold() for one in detector.clear}:
        return False
    raise PoisonError(f"{word[:50]!r} of {detector.topic} means neither covered nor clear")
