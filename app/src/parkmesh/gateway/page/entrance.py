"""Who may see the page: a password once, then a session in a cookie; and a slow-down for who guesses.

A session and not HTTP Basic: Basic sends the password with each request, over a LAN without encryption, and would have
it hashed each time, on a computer that has gates to open; and nobody can sign out of it. Sessions are in memory only.
"""

import asyncio
import hashlib
import hmac
import logging
import secrets
from collections.abc import Callable
from ipaddress import IPv6Address, ip_address, ip_network

from msgspec import Struct

from parkmesh.gateway.page import passwords

log = logging.getLogger("parkmesh.gateway")

SESSION_S = 8 * 3600
_SESSIONS = 32
_MOST_WAIT_S = 300
_FORGET_S = 3600
_SENDERS = 256
_QUEUE = 4
"""Sign-ins that wait for their turn; who comes then is asked to come again."""
_PAUSE_S = 1.0
"""Seconds after a wrong password in which nobody's is checked: many senders guess no faster than one."""
MAX_PASSWORD = 200


class Session(Struct):
    """``csrf`` is what its forms contain; ``until`` by the clock of the entrance."""

    csrf: str
    until: float


class _Guesses(Struct):
    count: int
    until: float
    last: float


class Entrance:
    """``clock`` gives seconds that only rise. ``pause_s`` follows each wrong password."""

    def __init__(self, stored: str, clock: Callable[[], float], *, pause_s: float = _PAUSE_S) -> None:
        self._stored, self._clock, self._pause_s = stored, clock, pause_s
        self._sessions: dict[bytes, Session] = {}
        self._guesses: dict[str, _Guesses] = {}
        self._turn = asyncio.Lock()
        self._waiting = 0

    async def sign_in(self, sender: str, password: str) -> str | float:
        """Return the cookie of a new session; or after how many seconds to try again: 0 where the password is wrong,
        more where it wasn't even checked."""
        origin = network_of(sender)
        wait = self._wait_s(origin)
        if wait > 0:
            return wait
        if self._waiting >= _QUEUE:
            return max(self._pause_s, 1.0)
        self._waiting += 1
        try:
            async with self._turn:
                wait = self._wait_s(origin)
                if wait > 0:  # it guessed several at once
                    return wait
                if len(password) <= MAX_PASSWORD and await asyncio.to_thread(passwords.matches, self._stored, password):
                    self._guesses.pop(origin, None)
                    return self._begin()
                self._count(origin)
                await asyncio.sleep(self._pause_s)
                return 0
        finally:
            self._waiting -= 1

    def session(self, cookie: str | None) -> Session | None:
        """Return the session of a cookie, None where it is over or there never was one."""
        session = self._sessions.get(_digest(cookie or ""))
        return session if session is not None and session.until > self._clock() else None

    def end(self, cookie: str | None) -> None:
        self._sessions.pop(_digest(cookie or ""), None)

    def _begin(self) -> str:
        now, cookie = self._clock(), secrets.token_urlsafe(32)
        self._sessions = {key: one for key, one in self._sessions.items() if one.until > now}
        if len(self._sessions) >= _SESSIONS:
            del self._sessions[next(iter(self._sessions))]
        self._sessions[_digest(cookie)] = Session(secrets.token_urlsafe(24), now + SESSION_S)
        return cookie

    def _wait_s(self, origin: str) -> float:
        guesses = self._guesses.get(origin)
        return 0 if guesses is None else guesses.until - self._clock()

    def _count(self, origin: str) -> None:
        now = self._clock()
        known = self._guesses.pop(origin, None)
        count = 1 if known is None or now - known.last > _FORGET_S else known.count + 1
        if len(self._guesses) >= _SENDERS:
            del self._guesses[next(iter(self._guesses))]
        self._guesses[origin] = _Guesses(count, now + min(2.0 ** min(count, 20), _MOST_WAIT_S), now)
        if count & (count - 1) == 0:  # who goes on for days fills no journal
            log.warning("the page: wrong password from %s (%d times)", origin, count)


def allowed(session: Session, token: str) -> bool:
    """Tell whether a form is the session's own."""
    return hmac.compare_digest(session.csrf.encode(), token.encode("utf-8", "replace"))


def network_of(sender: str) -> str:
    """Return by what a sender is known: its address, or the network of one that has as many as it likes (IPv6)."""
    try:
        address = ip_address(sender.partition("%")[0])
    except ValueError:
        return "-"
    return str(ip_network((address, 64), strict=False)) if isinstance(address, IPv6Address) else str(address)


def _digest(cookie: str) -> bytes:
    return hashlib.sha256(cookie.encode("utf-8", "replace")).digest()
