"""The open streams of gateways in this process: pushes of new access lists, of commands and of what other gateways
saw."""

import asyncio
from collections import defaultdict
from dataclasses import dataclass, field

import msgspec

from parkmesh.protocol.edge import Command
from parkmesh.server.edge.stream_list import Gates, StreamList
from parkmesh.server.telemetry import metrics

QUEUE = 64
"""Frames that wait for one gateway before its stream is closed as too slow."""


@dataclass(frozen=True)
class NewVersion:
    """The community's access list has this version now."""

    version: int


class Resync:
    """Something changed or was missed: see whether the token still holds, and what the gateway has to know."""


class Moves:
    """The community's cars moved."""


class End:
    """Close the stream; the gateway connects again, here or elsewhere."""


Item = NewVersion | Command | Resync | Moves | End


@dataclass(eq=False)
class Stream:
    """One gateway's open stream. ``shares_presence``: its community goes by what other gateways see; ``moves_wait``: it
    was told that there is some, and hasn't looked yet."""

    community_id: int
    gateway_id: int
    shares_presence: bool = False
    moves_wait: bool = False
    items: asyncio.Queue[Item] = field(default_factory=lambda: asyncio.Queue(QUEUE))

    def offer(self, item: Item) -> None:
        """Queue an item; a stream that does not keep up is emptied and ended."""
        try:
            self.items.put_nowait(item)
        except asyncio.QueueFull:
            while not self.items.empty():
                self.items.get_nowait()
            self.items.put_nowait(End())


class Streams:
    """All streams of this process. A gateway has one: a new one ends the one before. ``listed`` tells the other
    servers."""

    def __init__(self, listed: StreamList) -> None:
        self._listed = listed
        self._of_community: defaultdict[int, dict[int, Stream]] = defaultdict(dict)
        self._ending = False

    def open(self, community_id: int, gateway_id: int, gates: Gates = None) -> Stream:
        """Register the stream of a gateway with its ``gates`` (None: it didn't name them)."""
        stream = Stream(community_id, gateway_id)
        before = self._of_community[community_id].get(gateway_id)
        if before:
            before.offer(End())
        self._of_community[community_id][gateway_id] = stream
        self._listed.opened(community_id, gateway_id, gates)
        metrics.GATEWAY_STREAMS.inc()
        if self._ending:
            stream.offer(End())
        return stream

    def close(self, stream: Stream) -> None:
        """Forget a stream, unless a newer one took its place."""
        metrics.GATEWAY_STREAMS.dec()
        of_community = self._of_community.get(stream.community_id, {})
        if of_community.get(stream.gateway_id) is stream:
            del of_community[stream.gateway_id]
            self._listed.closed(stream.community_id, stream.gateway_id)
        if not of_community:
            self._of_community.pop(stream.community_id, None)

    def new_version(self, community_id: int, version: int) -> None:
        for stream in self._of_community.get(community_id, {}).values():
            stream.offer(NewVersion(version))

    def command(self, community_id: int, encoded: str) -> None:
        command = msgspec.json.decode(encoded, type=Command)
        for stream in self._of_community.get(community_id, {}).values():
            stream.offer(command)

    def moved(self, community_id: int) -> None:
        """Tell the gateways of a community that its cars moved, where they go by it."""
        for stream in self._of_community.get(community_id, {}).values():
            if stream.shares_presence and not stream.moves_wait:
                stream.moves_wait = True
                stream.offer(Moves())

    def check_gateway(self, gateway_id: int) -> None:
        """Have a gateway's stream see whether its token still holds."""
        for of_community in self._of_community.values():
            if gateway_id in of_community:
                of_community[gateway_id].offer(Resync())

    def resync(self) -> None:
        self._listed.resync()
        self._offer_all(Resync())

    def end(self) -> None:
        """End all streams, and those that open from now on: the server is going."""
        self._ending = True
        self._offer_all(End())

    def _offer_all(self, item: Item) -> None:
        for of_community in self._of_community.values():
            for stream in of_community.values():
                stream.offer(item)
