"""Simulated cameras that can't post: Hikvision's alert stream and Dahua's event stream with the digest login, for
whoever fetches them.

``POST /simulator/events`` (no maker's) has a message sent on the streams that are open, as if a car had come.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping

from msgspec import Struct
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route
from starlette.types import ASGIApp

from parkmesh.gateway.config import CameraKind
from parkmesh.gateway.drivers import dahua_stream, hikvision_stream
from parkmesh.simulator import jpeg
from parkmesh.simulator.login import Login

EVENTS = "/simulator/events"
KEEP_ALIVE = b"""<EventNotificationAlert version="2.0" xmlns="http://www.hikvision.com/ver20/XMLSchema">
<ipAddress>192.0.2.10</ipAddress><channelID>1</channelID><dateTime>2026-11-27T14:51:24+01:00</dateTime>
<activePostCount>0</activePostCount><eventType>videoloss</eventType><eventState>inactive</eventState>
<eventDescription>videoloss alarm</eventDescription></EventNotificationAlert>
"""


def part(content: bytes, content_type: str = 'application/xml; charset="UTF-8"') -> bytes:
    """Return a part as it stands in the stream."""
    head = f"--boundary\r\nContent-Type: {content_type}\r\nContent-Length: {len(content)}\r\n\r\n"
    return head.encode() + content + b"\r\n"


def _with_picture(xml: bytes) -> bytes:
    return part(xml) + part(jpeg.grey(90), "image/jpeg")


def dahua_part(content: bytes) -> bytes:
    """Return a part as it stands in Dahua's stream; its length is what some firmware writes."""
    return b"--myboundary\r\nContent-Type: text/plain\r\nContent-Length:0\r\n\r\n" + content + b"\r\n\r\n"


class _Stream(Struct, frozen=True):
    path: str
    content_type: str
    keep_alive: bytes
    part: Callable[[bytes], bytes]


STREAMS: Mapping[CameraKind, _Stream] = {
    "hikvision": _Stream(hikvision_stream.PATH, "multipart/mixed; boundary=boundary", part(KEEP_ALIVE), _with_picture),
    "dahua_events": _Stream(
        dahua_stream.PATH.partition("?")[0],
        "multipart/x-mixed-replace; boundary=myboundary",
        dahua_part(b"Heartbeat"),
        dahua_part,
    ),
}


def application(user: str, password: str, keep_alive_s: float = 10.0, kind: CameraKind = "hikvision") -> ASGIApp:
    """Build the camera."""
    sent = STREAMS[kind]
    open_streams: set[asyncio.Queue[bytes]] = set()

    async def stream(_: Request) -> Response:
        async def parts() -> AsyncIterator[bytes]:
            events: asyncio.Queue[bytes] = asyncio.Queue()
            open_streams.add(events)
            try:
                yield sent.keep_alive
                while True:
                    try:
                        async with asyncio.timeout(keep_alive_s):
                            message = await events.get()
                    except TimeoutError:
                        yield sent.keep_alive
                        continue
                    yield sent.part(message)
            finally:
                open_streams.discard(events)

        return StreamingResponse(parts(), media_type=sent.content_type)

    async def event(request: Request) -> Response:
        message = await request.body()
        for events in open_streams:
            events.put_nowait(message)
        return JSONResponse({"streams": len(open_streams)})

    camera = Starlette(routes=[Route(sent.path, stream), Route(EVENTS, event, methods=["POST"])])
    return Login(camera, "MD5", user, password)
