"""HTTP/1.1 of both applications: uvicorn's, with bounds on how long a client may take to send a request.

uvicorn's only bound is that of an idle connection after an answer, and every byte lifts it: a client that sends a head
byte by byte, or nothing at all, would keep its connection for ever. What comes after a head is bounded by ``guard``.
"""

import asyncio
import logging

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

HEAD_S = 20.0
"""Seconds that a client has for a request's head from its first byte."""

_log = logging.getLogger(__name__)


class BoundedProtocol(H11Protocol):
    """One connection."""

    _deadline: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._bound()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        self._bound()

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self._lift()
        self._unset_keepalive_if_required()

    def _bound(self) -> None:
        """Set the timer that fits what the client has sent so far."""
        if self.transport.is_closing():
            return
        idle = self.conn.their_state is h11.IDLE
        # A body that the application needs no more: the answer went out before the body was whole.
        unread = self.conn.their_state is h11.SEND_BODY and self.cycle.response_complete
        if unread or (idle and self.conn.trailing_data[0]):
            if self._deadline is None:
                self._deadline = self.loop.call_later(HEAD_S, self._give_up)
            return
        self._lift()
        if idle and self.timeout_keep_alive_task is None:
            self.timeout_keep_alive_task = self.loop.call_later(
                self.timeout_keep_alive, self.timeout_keep_alive_handler
            )

    def _lift(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _give_up(self) -> None:
        _log.warning("a client was too slow", extra={"fields": {"client": self.client[0] if self.client else ""}})
        self.transport.close()
