"""Passwords: argon2id with OWASP's parameters, worked out on a thread so that no request waits for another's."""

import asyncio
import re
from functools import cache
from pathlib import Path

from argon2 import PasswordHasher, Type
from argon2.exceptions import InvalidHashError, VerificationError

from parkmesh.server.http.messages import Message

MIN_LENGTH = 8
MAX_LENGTH = 1024
# The most frequent of at least MIN_LENGTH characters in published lists of leaked passwords, in lower case.
_COMMON = Path(__file__).parent / "common_passwords.txt"

OF_THIS_SERVICE = frozenset(
    (
        *("parkmesh", "parking", "aparcamiento", "estacionamiento", "garage", "garaje", "gateway"),
        *("community", "comunidad", "resident", "residente", "visitor", "visitante"),
        *("administrator", "administrador", "operator", "operador"),
    )
)
"""Words that are first guesses here, whatever digits and signs surround them."""
_ADDED = re.compile(r"^[\W\d_]+|[\W\d_]+$")

# OWASP's second choice: 19 MiB, 2 passes. About 20 ms on a server's core.
_hasher = PasswordHasher(time_cost=2, memory_cost=19_456, parallelism=1, type=Type.ID)

# Verified where an account doesn't exist or has no password, so that the answer takes as long as for one that does.
_NOBODY = _hasher.hash("nobody")


def hashed(password: str) -> str:
    """Return the hash to store."""
    return _hasher.hash(password)


def matches(stored: str | None, password: str) -> bool:
    """Tell whether the password is the hashed one; takes as long for ``stored`` None."""
    try:
        return _hasher.verify(stored or _NOBODY, password) and stored is not None
    except (VerificationError, InvalidHashError):
        return False


async def verify(stored: str | None, password: str) -> bool:
    """Like ``matches``, on a thread."""
    return await asyncio.to_thread(matches, stored, password)


def outdated(stored: str) -> bool:
    """Tell whether a hash was made with other parameters than today's."""
    return _hasher.check_needs_rehash(stored)


async def hash_new(password: str) -> str:
    """Like ``hashed``, on a thread."""
    return await asyncio.to_thread(hashed, password)


def weakness(password: str, *about: str) -> Message | None:
    """Return why a password must not be chosen, or None. ``about`` are the owner's e-mail address and name."""
    if not MIN_LENGTH <= len(password) <= MAX_LENGTH:
        return Message("A password has %(least)s to %(most)s characters.", least=MIN_LENGTH, most=MAX_LENGTH)
    simple = password.strip().lower()
    if simple in _common() or len(set(simple)) < 3 or _ADDED.sub("", simple) in OF_THIS_SERVICE:
        return Message("This password is one of the first that an attacker tries.")
    if simple in {word.strip().lower() for text in about for word in (text, text.partition("@")[0])}:
        return Message("This password is your own name or e-mail address.")
    return None


@cache
def _common() -> frozenset[str]:
    return frozenset(_COMMON.read_text(encoding="utf-8").split())
