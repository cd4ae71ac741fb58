"""A simulated Hikvision camera that can't post: its alert stream with the digest login, for whoever fetches it.

``POST /simulator/events`` (not Hikvision's) has a message sent on the streams that are open, as if a car had come.
"""

import asyncio
from collections.abc import AsyncIterator

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route
from starlette.types import ASGIApp

from parkmesh.gateway.drivers.hikvision_stream import PATH
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


def application(user: str, password: str, keep_alive_s: float = 10.0) -> ASGIApp:
    """Build the camera."""
    open_streams: set[asyncio.Queue[bytes]] = set()

    async def stream(_: Request) -> Response:
        async def parts() -> AsyncIterator[bytes]:
            events: asyncio.Queue[bytes] = asyncio.Queue()
            open_streams.add(events)
            try:
                yield part(KEEP_ALIVE)
                while True:
                    try:
                        async with asyncio.timeout(keep_alive_s):
                            xml = await events.get()
                    except TimeoutError:
                        yield part(KEEP_ALIVE)
                        continue
                    yield part(xml)
                    yield part(jpeg.grey(90), "image/jpeg")
            finally:
                open_streams.discard(events)

        return StreamingResponse(parts(), media_type="multipart/mixed; boundary=boundary")

    async def event(request: Request) -> Response:
        xml = await request.body()
        for events in open_streams:
            events.put_nowait(xml)
        return JSONResponse({"streams": len(open_streams)})

    camera = Starlette(routes=[Route(PATH, stream), Route(EVENTS, event, methods=["POST"])])
    return Login(camera, "MD5", user, password)
