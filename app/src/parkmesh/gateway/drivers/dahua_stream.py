"""Dahua's event stream: plates of cameras that can't post, fetched by ``eventManager.cgi`` (digest).

``attach`` answers with a multipart body that never ends. A part is a line ``Code=TrafficJunction;action=Pulse;index=0``
with ``;data=`` and JSON over many lines, or the word ``Heartbeat``. Lengths can't be trusted (some firmware writes 0),
so an event ends where its JSON does. Of an event this makes one JSON object, which ``dahua_events`` reads.

Sources: p2baron/DahuaEspEventStream, README.md (address, login); sh00t2kill/appdaemon-dahua2mqtt, README.md (codes);
YutthapoomSa/dahua-api, text.js (the data).
"""

import json
import re

import msgspec

from parkmesh.gateway.drivers.types import StreamError

PATH = "/cgi-bin/eventManager.cgi?action=attach&codes=[TrafficJunction]&heartbeat=5"
SILENCE_S = 60.0
"""Longer than several heartbeats: a stream that is silent for so long is broken."""

MAX_EVENT = 1024 * 1024
_MAX_BETWEEN = 64 * 1024
_EVENT = re.compile(rb"(?:\A|\n)Code=([^;\r\n]{1,100});action=([^;\r\n]{1,32})(?:;index=(\d{1,6}))?(;data=)?")
_HEARTBEAT = re.compile(rb"(?:\A|\n)Heartbeat\s*(?:\n|\Z)")
_BOUNDARY = re.compile(rb"\n--[^\r\n]{1,70}\r?\n")


class Messages:
    """Cuts a stream into messages, as its bytes come. ``content_type`` is that of the answer."""

    def __init__(self, content_type: str) -> None:
        if "multipart" not in content_type.lower():
            raise StreamError(f"the answer is {content_type[:60] or 'of no type'}, not multipart")
        self._buffer = b""

    def feed(self, chunk: bytes) -> list[bytes]:
        """Take the next bytes; return the messages that are whole now. Raises StreamError."""
        self._buffer += chunk
        found: list[bytes] = []
        while (message := self._next()) is not None:
            if message:
                found.append(message)
        return found

    def _next(self) -> bytes | None:
        """Cut the next event off; None while it isn't whole, nothing for one that can't be read."""
        event = _EVENT.search(self._buffer)
        # The line may go on in the next chunk, with its data.
        if event is None or (event[4] is None and b"\n" not in self._buffer[event.end() :]):
            return self._heartbeat(len(self._buffer) if event is None else event.start())
        if beat := self._heartbeat(event.start()):
            return beat
        code, action, index = (part.decode("utf-8", "replace") if part else "" for part in event.groups()[:3])
        if event[4] is None:
            self._buffer = self._buffer[event.end() :]
            return msgspec.json.encode({"Code": code, "Action": action})
        data, length = self._data(event.end())
        if length is None:
            return None
        self._buffer = self._buffer[event.end() + length :]
        return msgspec.json.encode({"Code": code, "Action": action, "Index": index, "Data": data}) if data else b""

    def _heartbeat(self, end: int) -> bytes | None:
        """Cut off what comes before ``end``; return a message where a heartbeat is in it."""
        beat = _HEARTBEAT.search(self._buffer, 0, end)
        if beat is None:
            if end == len(self._buffer) and end > _MAX_BETWEEN:
                raise StreamError("no event comes")
            return None
        # Its own line end may be the next event's beginning.
        self._buffer = self._buffer[beat.end() - 1 if beat[0].endswith(b"\n") else beat.end() :]
        return b'{"Code":"Heartbeat"}'

    def _data(self, begin: int) -> tuple[object, int | None]:
        """Return an event's data and how many bytes it has: None while it isn't whole, nothing where it is broken."""
        following = _BOUNDARY.search(self._buffer, begin)
        if following is None and len(self._buffer) - begin > MAX_EVENT:
            raise StreamError(f"an event has more than {MAX_EVENT} bytes")
        if following is None and not self._buffer.rstrip().endswith(b"}"):
            return None, None
        written = self._buffer[begin : following.start() if following else None].decode("utf-8", "replace")
        try:
            data, end = json.JSONDecoder(strict=False).raw_decode(written.lstrip())
        except (ValueError, RecursionError):
            return (None, following.start() - begin) if following else (None, None)
        read = len(written) - len(written.lstrip()) + end
        return data, len(written[:read].encode()) if following is None else following.start() - begin
