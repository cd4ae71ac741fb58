"""Hikvision's alert stream: the messages of ``hikvision``, fetched from a camera or recorder that can't post them.

``GET /ISAPI/Event/notification/alertStream`` (digest) answers with a multipart body that never ends. Its parts are the
XML or JSON of events, pictures, and keep-alives (``videoloss``, ``inactive``) about every 10 s. A part is given out as
soon as it is whole: by its Content-Length, by the end of its XML, or, for JSON without a length, by what can be read.
Waiting for the next boundary would keep a car waiting for the next keep-alive.

Sources: ISAPI's event notification; node-red-contrib-hikvision-ultimate issues 59 and 105 (devices' streams).
"""

import re

import msgspec

from parkmesh.gateway.drivers.types import StreamError

PATH = "/ISAPI/Event/notification/alertStream"
SILENCE_S = 60.0
"""Longer than several keep-alives: a stream that is silent for so long is broken."""

MAX_PART = 8 * 1024 * 1024
_MAX_HEAD = 16 * 1024
_BOUNDARY = re.compile(r'boundary="?([^";,\s]+)"?', re.IGNORECASE)
_BLANK_LINE = re.compile(rb"\r?\n\r?\n")
_LENGTH = re.compile(rb"^content-length:[ \t]*(\d{1,9})[ \t]*\r?$", re.IGNORECASE | re.MULTILINE)
_PICTURE = re.compile(rb"^content-type:[ \t]*image/", re.IGNORECASE | re.MULTILINE)
_XML_END = re.compile(rb"</(?:[A-Za-z_][\w.-]*:)?EventNotificationAlert\s*>")
_ENDS_BY_TAG = re.compile(rb"<[^\x00]")
"""XML in anything but UTF-16."""


class Messages:
    """Cuts a stream into messages, as its bytes come. ``content_type`` is that of the answer."""

    def __init__(self, content_type: str) -> None:
        match = _BOUNDARY.search(content_type)
        if "multipart" not in content_type.lower():
            raise StreamError(f"the answer is {content_type[:60] or 'of no type'}, not multipart")
        # Some devices' parameter has the hyphens that its lines have.
        bare = (match[1] if match else "boundary").lstrip("-").encode("latin-1", "replace")
        self._boundary = re.compile(rb"(?:\A|\n)--+" + re.escape(bare))
        self._buffer = b""
        self._skip = 0

    def feed(self, chunk: bytes) -> list[bytes]:
        """Take the next bytes; return the messages that are whole now. Raises StreamError."""
        if self._skip:
            left_out = min(self._skip, len(chunk))
            self._skip, chunk = self._skip - left_out, chunk[left_out:]
        self._buffer += chunk
        found: list[bytes] = []
        while (message := self._next()) is not None:
            if message.startswith((b"<", b"{", b"\xff\xfe", b"\xfe\xff")):
                found.append(message)
        if len(self._buffer) > MAX_PART:
            raise StreamError(f"a part has more than {MAX_PART} bytes")
        return found

    def _next(self) -> bytes | None:
        """Cut the next part off; None while it isn't whole. A picture is an empty part."""
        start = self._boundary.search(self._buffer)
        if start is None:
            if len(self._buffer) > _MAX_HEAD:
                raise StreamError("no boundary comes")
            return None
        blank = _BLANK_LINE.search(self._buffer, start.end())
        if blank is None:
            if len(self._buffer) - start.end() > _MAX_HEAD:
                raise StreamError("a part's headers don't end")
            return None
        head, begin = self._buffer[start.end() : blank.start() + 1], blank.end()
        length = _LENGTH.search(head)
        if length and _PICTURE.search(head):
            # Nothing here needs pictures: they aren't even gathered.
            missing = begin + int(length[1]) - len(self._buffer)
            self._skip = max(0, missing)
            self._buffer = self._buffer[len(self._buffer) if missing > 0 else begin + int(length[1]) :]
            return b""
        end = self._end(begin, int(length[1]) if length else None)
        if end is None:
            return None
        content, self._buffer = self._buffer[begin:end], self._buffer[end:]
        return content.strip(b"\x00 \t\r\n") if not content.startswith((b"\xff\xfe", b"\xfe\xff")) else content

    def _end(self, begin: int, length: int | None) -> int | None:
        """Return where the part that begins there ends; None while that isn't known."""
        xml = _XML_END.search(self._buffer, begin)
        following = self._boundary.search(self._buffer, begin)
        if xml and (following is None or xml.end() <= following.start()):
            return xml.end()  # a length that is wrong by some bytes breaks nothing
        content = self._buffer[begin : begin + 64].lstrip()
        if length is not None and len(self._buffer) >= begin + length and not _ENDS_BY_TAG.match(content):
            return begin + length
        if following is not None:
            return following.start()
        content = self._buffer[begin:]
        if length is None and content.lstrip().startswith(b"{"):
            try:
                msgspec.json.decode(content, type=dict[str, msgspec.Raw])
            except (msgspec.DecodeError, UnicodeDecodeError):
                return None
            return len(self._buffer)
        return None
