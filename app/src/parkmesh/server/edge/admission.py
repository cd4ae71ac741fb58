"""ASGI middleware that bounds the work in hand: above the bound it answers 503 at once, with the time to come back.

A gateway that gets 503 keeps its events and tries again; a gateway that waits in an endless queue gives up in the
middle and sends everything a second time.
"""

import random

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from parkmesh.server.http import problems

AGAIN_S = (1, 5)
"""Bounds of Retry-After; drawn by chance, so that gateways that were turned away together don't return together."""
_STREAM = "/edge/v1/stream"


class Admission:
    """Let at most ``requests`` requests and ``size`` bytes of bodies in at a time. A body without a length counts as
    none: the limit on each body bounds it. ``again_s`` bounds the seconds after which the others shall return."""

    def __init__(self, app: ASGIApp, requests: int, size: int, again_s: tuple[int, int] = AGAIN_S) -> None:
        self._app, self._requests, self._size, self._again_s = app, requests, size, again_s
        self._in_hand = self._bytes = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        length = _length(scope)
        if self._in_hand >= self._requests or (self._bytes and self._bytes + length > self._size):
            again_s = random.randint(*self._again_s)  # noqa: S311
            refusal = problems.response(
                503, "There is more to do than can be done now.", kind="overload", headers={"Retry-After": str(again_s)}
            )
            await refusal(scope, receive, send)
            return
        self._in_hand += 1
        self._bytes += length
        held = True

        def let_go() -> None:
            nonlocal held
            if held:
                held = False
                self._in_hand -= 1
                self._bytes -= length

        async def sending(message: Message) -> None:
            # A stream that has begun waits for news: that is no work.
            if message["type"] == "http.response.start" and scope["path"] == _STREAM:
                let_go()
            await send(message)

        try:
            await self._app(scope, receive, sending)
        finally:
            let_go()


def _length(scope: Scope) -> int:
    for name, value in scope["headers"]:
        if name == b"content-length" and value.isdigit():
            return min(int(value), 2**40)
    return 0
