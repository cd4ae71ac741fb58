"""HTTP digest authentication as a server asks for it (RFC 7616), for devices that post to the gateway. Without I/O.

Digest covers no body (``qop=auth``), so what is overheard must not serve twice: each number of a challenge is taken
once, and a challenge for five minutes. A client whose number was taken is asked again (``stale``) and logs in anew.
Old firmware sends no ``qop`` (RFC 2069): then a challenge serves once.
"""

import hashlib
import hmac
import re
import secrets
import time
from collections.abc import Callable
from typing import Literal

from msgspec import Struct

REALM = "parkmesh"
Algorithm = Literal["MD5", "SHA-256"]
Verdict = Literal["known", "stale", "wrong"]

_HASHES = {"MD5": hashlib.md5, "SHA-256": hashlib.sha256}
_FIELD = re.compile(r'([a-z]{1,16})\s*=\s*(?:"([^"\\]*(?:\\.[^"\\]*)*)"|([^\s,"]+))', re.IGNORECASE)
_ORIGIN = re.compile(r"^https?://[^/]*", re.IGNORECASE)
_LONGEST = 4096
_LIFE_MS = 300_000
_REMEMBERED = 4096
_ONCE = 1 << 40
"""Taken as the number of an answer that has none: no other number of its challenge counts after it."""


class Answer(Struct, frozen=True):
    """The fields of an ``Authorization: Digest`` header; what it lacks is empty."""

    username: str = ""
    realm: str = ""
    nonce: str = ""
    uri: str = ""
    response: str = ""
    algorithm: str = "MD5"
    qop: str = ""
    nc: str = ""
    cnonce: str = ""


def read(header: str) -> Answer | None:
    """Read the header's value; None where it is no digest."""
    scheme, _, rest = header.strip().partition(" ")
    if scheme.lower() != "digest" or len(rest) > _LONGEST:
        return None
    found = {name.lower(): plain or re.sub(r"\\(.)", r"\1", quoted) for name, quoted, plain in _FIELD.findall(rest)}
    return Answer(**{name: value for name, value in found.items() if name in Answer.__struct_fields__})


class Challenges:
    """Makes challenges and takes what answers them. ``elapsed_ms`` only rises.

    A challenge is its time, signed: none is remembered before it has served, so that asking costs no memory.
    """

    def __init__(self, elapsed_ms: Callable[[], int] = lambda: time.monotonic_ns() // 1_000_000) -> None:
        self._elapsed_ms, self._key = elapsed_ms, secrets.token_bytes(32)
        self._served: dict[str, int] = {}
        self._oldest = 0

    def headers(self, algorithms: tuple[Algorithm, ...], *, stale: bool = False) -> list[str]:
        """Return the values of ``WWW-Authenticate``, one an algorithm, with a new challenge."""
        nonce = self._nonce(self._elapsed_ms())
        more = ", stale=true" if stale else ""
        return [
            f'Digest realm="{REALM}", qop="auth", algorithm={algorithm}, nonce="{nonce}"{more}'
            for algorithm in algorithms
        ]

    def judge(
        self,
        answer: Answer,
        method: str,
        target: str,
        user: str,
        password: str,
        algorithms: tuple[Algorithm, ...],
    ) -> Verdict:
        """Judge the answer to a challenge; ``target`` is the request's path with its query."""
        algorithm = next((one for one in algorithms if one == answer.algorithm.upper()), None)
        if algorithm is None or answer.realm != REALM or answer.qop not in ("", "auth"):
            return "wrong"
        # Some clients write the whole address.
        if _ORIGIN.sub("", answer.uri) != target or not hmac.compare_digest(answer.username.encode(), user.encode()):
            return "wrong"

        def digest(*parts: str) -> str:
            return _HASHES[algorithm](":".join(parts).encode()).hexdigest()

        of_user, of_request = digest(user, REALM, password), digest(method, answer.uri)
        middle = (answer.nonce, answer.nc, answer.cnonce, answer.qop) if answer.qop else (answer.nonce,)
        expected = digest(of_user, *middle, of_request)
        if not hmac.compare_digest(answer.response.lower().encode(), expected.encode()):
            return "wrong"
        return "known" if self._take(answer) else "stale"

    def _nonce(self, at: int) -> str:
        signed = hmac.digest(self._key, at.to_bytes(8, "big"), "sha256").hex()[:32]
        return f"{at:x}.{signed}"

    def _take(self, answer: Answer) -> bool:
        """Tell whether a challenge is ours and still good for this answer, which then counts as given."""
        stamp, _, _ = answer.nonce.partition(".")
        if not re.fullmatch(r"[0-9a-f]{1,14}", stamp):
            return False
        at = int(stamp, 16)
        if not hmac.compare_digest(answer.nonce.encode(), self._nonce(at).encode()):
            return False
        if at < self._oldest or self._elapsed_ms() - at > _LIFE_MS:
            return False
        number = _ONCE
        if answer.qop:
            if not re.fullmatch(r"[0-9a-fA-F]{1,8}", answer.nc):
                return False
            number = int(answer.nc, 16)
        if number <= self._served.get(answer.nonce, 0):
            return False
        self._served[answer.nonce] = number
        if len(self._served) > _REMEMBERED:
            self._forget()
        return True

    def _forget(self) -> None:
        """Forget the older half of what has served. Nothing as old as that serves any more."""
        ages = sorted((int(nonce.partition(".")[0], 16), nonce) for nonce in self._served)
        for at, nonce in ages[: len(ages) // 2]:
            self._oldest = max(self._oldest, at + 1)
            del self._served[nonce]
