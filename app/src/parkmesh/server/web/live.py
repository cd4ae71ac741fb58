"""Live pages: what a community's page shows now, and what changed since, to every browser that looks at it.

A feed exists per community as long as it has viewers. It wakes on the database's notifications, reads at most ``1 /
PAUSE_S`` times a second, and hands the difference to all its viewers: 200 viewers cost one read. A viewer that joins,
or that did not keep up, gets a whole snapshot first, so that differences always have their base.
"""

import asyncio
import contextlib
import contextvars
import logging
from collections.abc import AsyncGenerator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import msgspec

from parkmesh.domain import plate_spacing
from parkmesh.server.access import passages
from parkmesh.server.communities import community_reads
from parkmesh.server.db import database
from parkmesh.server.people import units
from parkmesh.server.spaces import spaces
from parkmesh.server.telemetry import logs
from parkmesh.server.web.labels import local_day, local_time, reason_text

PAUSE_S = 0.4
PING_S = 15.0
IDLE_S = 60.0
"""Seconds after which a page looks by itself at what it heard nothing of, as ``EVENTS`` come in: a server that dies
between storing events and announcing them leaves the others without the news."""
PASSAGES = 30
RETRY_MS = 2000
STREAM_LIFE_S = 3600.0
"""Seconds after which a page connects again and its session is checked anew."""
QUEUE = 8
EVERYTHING = "psgv"
EVENTS = "ps"
PING = b": still here\n\n"

_SPACES = f"""
    SELECT s.name, {spaces.STATUS} AS status, {spaces.CATEGORY} AS category, a.unit_id
    FROM space s {spaces.STATE} {spaces.HELD} WHERE s.community_id = $1 ORDER BY s.level, s.name
"""  # noqa: S608 - columns of spaces
# For viewers who see every space: who has it costs as much as all the rest. Nobody else would be shown one of these.
_SPACES_FOR_STAFF = f"""
    SELECT s.name, {spaces.STATUS} AS status, 'assigned' AS category, NULL AS unit_id
    FROM space s {spaces.STATE} WHERE s.community_id = $1 ORDER BY s.level, s.name
"""  # noqa: S608 - columns of spaces

_log = logging.getLogger(__name__)


class PassageRow(msgspec.Struct, frozen=True, omit_defaults=True, gc=False):
    """A passage as the page writes it: texts are ready to show, in English. ``at`` (ms since 1970) and ``id`` order
    them; ``cause`` is the reason's code, for readers of other languages; ``shown`` is the plate in groups.
    ``credential`` decides who sees it, and goes to nobody."""

    id: int
    at: int
    time: str
    day: str
    gate: str
    direction: str
    plate: str
    decision: str
    reason: str
    opened: bool | None
    cause: str
    shown: str = ""
    credential: str | None = None


class SpaceTile(msgspec.Struct, frozen=True, gc=False):
    name: str
    status: str


class PlacedTile(msgspec.Struct, frozen=True, gc=False):
    """A tile, with what decides who sees it: the space's category, and the unit that has it now.

    As the rows of passages it is none of the garbage collector's (``gc=False``): it can't be
    part of a circle, and each look at thousands of them kept requests waiting for 10 to 20 ms.
    """

    tile: SpaceTile
    category: str
    unit_id: int | None


class GatewayHealth(msgspec.Struct, frozen=True):
    """``seen`` is the last heartbeat in ms since 1970, None before the first."""

    name: str
    seen: int | None
    backlog: int | None


@dataclass
class State:
    """What the page shows. A space is the row of ``_SPACES``: each look reads hundreds, of which few are news."""

    passages: list[PassageRow] = field(default_factory=list)
    spaces: list[tuple[str, str, str, int | None]] = field(default_factory=list)
    gateways: list[GatewayHealth] = field(default_factory=list)


class Update(msgspec.Struct, frozen=True, omit_defaults=True):
    """What a viewer gets: rows to add and states to set, each by its key, so that a snapshot is an update like any."""

    passages: list[PassageRow] = []
    spaces: list[SpaceTile] = []
    gateways: list[GatewayHealth] = []


class News(msgspec.Struct, frozen=True):
    """What is new for all viewers together, before each gets the part that is theirs to see."""

    passages: list[PassageRow]
    spaces: list[PlacedTile]
    gateways: list[GatewayHealth]


def passage_row(passage: passages.Passage, zone: ZoneInfo) -> PassageRow:
    return PassageRow(
        id=passage.id,
        at=int(passage.received_at.timestamp() * 1000),
        time=local_time(passage.received_at, zone),
        day=local_day(passage.received_at, zone),
        gate=passage.gate_title,
        direction=passage.direction,
        plate=passage.plate,
        decision=passage.decision,
        reason=reason_text(passage.reason, passage.decision, passage.opened),
        opened=passage.opened,
        cause=passage.reason,
        shown=plate_spacing.spaced(passage.plate) if passage.plate else "",
        credential=passage.credential,
    )


def gateway_health(gateway: community_reads.Gateway) -> GatewayHealth:
    seen = gateway.last_heartbeat_at
    return GatewayHealth(gateway.name, int(seen.timestamp() * 1000) if seen else None, gateway.backlog)


def difference(before: State, after: State) -> News:
    """Return what is new in ``after``."""
    known_passages = {row.id for row in before.passages}
    known_spaces = set(before.spaces)
    return News(
        passages=[row for row in after.passages if row.id not in known_passages],
        spaces=[
            PlacedTile(SpaceTile(name, status), category, unit_id)
            for name, status, category, unit_id in (row for row in after.spaces if row not in known_spaces)
        ],
        gateways=after.gateways if after.gateways != before.gateways else [],
    )


def visible(news: News, seen: passages.Seen | None, unit_seen: int | None) -> Update:
    """Return the part of the news for a viewer who may see only these passages, and of assigned spaces only those of
    this unit (None: all). A space that isn't theirs to see is left out: even that it changed tells something."""
    shown = [
        msgspec.structs.replace(row, credential=None)
        for row in news.passages
        if seen is None or seen.shows(row.credential, row.plate, datetime.fromtimestamp(row.at / 1000, UTC))
    ]
    tiles = [placed.tile for placed in news.spaces if spaces.shows_state(unit_seen, placed.category, placed.unit_id)]
    return Update(shown, tiles, news.gateways)


@dataclass(eq=False)
class Viewer:
    """One open page: the frames that wait for it. ``None`` among them ends it. Who doesn't see everything is a
    resident: of passages they see ``seen``, of assigned spaces those of the unit ``unit_seen`` (0: of none)."""

    user_id: int
    seen: passages.Seen | None
    unit_seen: int | None
    resident_id: int | None = None
    frames: asyncio.Queue[bytes | None] = field(default_factory=lambda: asyncio.Queue(QUEUE))
    behind: bool = True

    def offer(self, frame: bytes) -> None:
        """Queue a frame, or remember that this viewer needs a snapshot."""
        try:
            self.frames.put_nowait(frame)
        except asyncio.QueueFull:
            self.behind = True

    def end(self) -> None:
        while not self.frames.empty():
            self.frames.get_nowait()
        self.frames.put_nowait(None)


class Frames:
    """News as frames for viewers who may see different parts of it. Each frame is made once: thousands of viewers share
    it."""

    def __init__(self, news: News) -> None:
        self._news = news
        self._made: dict[tuple[passages.Seen | None, int | None], bytes | None] = {}
        self._assigned = any(placed.category == "assigned" for placed in news.spaces)

    def of(self, viewer: Viewer) -> bytes | None:
        """Return the viewer's frame, None where the news hold nothing for the viewer."""
        # Viewers who may see only a part get the same frame as the others where there is no news of that kind.
        seen = (viewer.seen if self._news.passages else None, viewer.unit_seen if self._assigned else None)
        if seen not in self._made:
            part = visible(self._news, *seen)
            encoded = b"event: update\ndata: %s\n\n" % msgspec.json.encode(part)
            self._made[seen] = encoded if part != Update() else None
        return self._made[seen]


class Feed:
    """The updates of one community to its viewers."""

    def __init__(self, pool: database.Pool, community_id: int) -> None:
        self._pool = pool
        self._community_id = community_id
        self._state = State()
        self._stale = "psg"
        self._woken = asyncio.Event()
        self.viewers: set[Viewer] = set()
        self.task: asyncio.Task[None] | None = None

    def wake(self, changed: str) -> None:
        """Something of ``changed`` (p passages, s spaces, g gateways, v who sees what) is new."""
        self._stale += changed
        self._woken.set()

    async def run(self) -> None:
        """Serve the viewers until cancelled; tell viewers that hear nothing for long that the server is there."""
        loop = asyncio.get_running_loop()
        pinged = loop.time()
        looked = dict.fromkeys(EVENTS, pinged)
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(PING_S):
                    await self._woken.wait()
            if loop.time() - pinged >= PING_S:
                # To all: what the others heard meanwhile may have been for their eyes only.
                pinged = loop.time()
                for viewer in self.viewers:
                    viewer.offer(PING)
            # Of each by itself: heartbeats come all the time, and say nothing of passages.
            if overdue := [what for what, at in looked.items() if loop.time() - at >= IDLE_S]:
                self.wake("".join(overdue))
            if not self._woken.is_set():
                continue
            self._woken.clear()
            stale, self._stale = self._stale, ""
            looked |= dict.fromkeys(set(stale) & set(EVENTS), loop.time())
            try:
                await self._publish(stale)
            except Exception as error:  # noqa: BLE001 - whatever it was, the page's next update must not depend on it
                _log.warning("a live page could not be read", extra={"fields": {"cause": logs.describe(error)}})
                self.wake(stale)
                await asyncio.sleep(2)
            await asyncio.sleep(PAUSE_S)

    async def _publish(self, stale: str) -> None:
        before, self._state = self._state, await self._read(stale)
        state = self._state
        news = Frames(difference(before, state))
        whole: Frames | None = None
        for viewer in self.viewers:
            catches_up = viewer.behind and viewer.frames.empty()
            if viewer.behind and not catches_up:
                continue
            viewer.behind = False
            if catches_up and whole is None:
                whole = Frames(difference(State(), state))
            if frame := (whole if catches_up and whole else news).of(viewer):
                viewer.offer(frame)
        if any(viewer.behind for viewer in self.viewers):
            # Its queue is full: look again when it may have emptied it.
            self._woken.set()

    async def _read(self, stale: str) -> State:
        state = State(self._state.passages, self._state.spaces, self._state.gateways)
        if not stale:
            return state
        identity = self._community_id
        async with database.in_community(self._pool, identity, read_only=True) as connection:
            if "p" in stale:
                zone = ZoneInfo((await community_reads.community(connection, identity)).time_zone)
                latest = await passages.search(connection, identity, limit=PASSAGES)
                state.passages = [passage_row(passage, zone) for passage in latest]
            if "s" in stale:
                told_apart = any(viewer.unit_seen is not None for viewer in self.viewers)
                state.spaces = await connection.fetch(_SPACES if told_apart else _SPACES_FOR_STAFF, identity)
            if "g" in stale:
                state.gateways = [
                    gateway_health(item) for _, item in await community_reads.gateways(connection, identity)
                ]
            residents = {viewer.resident_id for viewer in self.viewers if viewer.resident_id is not None}
            if "v" in stale and residents:
                seen = await passages.seen_by_each(connection, identity, residents)
                homes = await units.units_of(connection, identity, residents)
                for viewer in self.viewers:
                    if viewer.resident_id in residents:
                        viewer.seen = seen.get(viewer.resident_id, passages.Seen())
                        viewer.unit_seen = homes.get(viewer.resident_id, 0)
        return state


class Feeds:
    """The feeds of this process."""

    def __init__(self, pool: database.Pool) -> None:
        self._pool = pool
        self._feeds: dict[int, Feed] = {}
        self._ending = False

    @property
    def open_pages(self) -> int:
        """Return how many pages are open."""
        return sum(len(feed.viewers) for feed in self._feeds.values())

    def changed(self, community_id: int, what: str) -> None:
        """Wake a community's feed, if it has viewers."""
        if feed := self._feeds.get(community_id):
            feed.wake(what)

    def resync(self) -> None:
        """Wake all feeds: notifications may have been missed."""
        for feed in self._feeds.values():
            feed.wake(EVERYTHING)

    def end_user(self, user_id: int) -> None:
        """End the pages of a user whose session or rights ended; the browser comes back and is checked."""
        for feed in self._feeds.values():
            for viewer in feed.viewers:
                if viewer.user_id == user_id:
                    viewer.end()

    def end(self) -> None:
        """End all pages, and those that open from now on: the server is going."""
        self._ending = True
        for feed in self._feeds.values():
            for viewer in feed.viewers:
                viewer.end()

    async def watch(
        self,
        community_id: int,
        user_id: int,
        seen: passages.Seen | None,
        unit_seen: int | None,
        resident_id: int | None = None,
    ) -> AsyncGenerator[bytes]:
        """Yield the frames of one page's event stream; ``seen`` and ``unit_seen`` are what the resident sees (None:
        everything)."""
        viewer = Viewer(user_id, seen, unit_seen, resident_id)
        feed = self._feeds.setdefault(community_id, Feed(self._pool, community_id))
        feed.viewers.add(viewer)
        if feed.task is None:
            # The feed's log lines name no request: the feed doesn't work for its first viewer alone.
            feed.task = asyncio.create_task(
                feed.run(), name=f"feed of community {community_id}", context=contextvars.Context()
            )
        # Read again what the resident sees: it may have changed since it was read, or was read for staff alone.
        feed.wake("" if unit_seen is None else "vs")
        if self._ending:
            viewer.end()
        loop = asyncio.get_running_loop()
        ends = loop.time() + STREAM_LIFE_S
        try:
            yield f"retry: {RETRY_MS}\n\n".encode()
            while (frame := await viewer.frames.get()) is not None and loop.time() < ends:
                yield frame
            yield b"event: reconnect\ndata: {}\n\n"
        finally:
            feed.viewers.discard(viewer)
            if not feed.viewers and self._feeds.get(community_id) is feed:
                del self._feeds[community_id]
                feed.task.cancel()
