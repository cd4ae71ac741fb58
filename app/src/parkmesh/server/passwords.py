"""Passwords: argon2id with OWASP's parameters, worked out on a thread so that no request waits for another's."""

import asyncio

from argon2 import PasswordHasher, Type
from argon2.exceptions import InvalidHashError, VerificationError

# OWASP's second choice: 19 MiB, 2 passes. About 20 ms on a server's core.
_hasher = PasswordHasher(time_cost=2, memory_cost=19_456, parallelism=1, type=Type.ID)

# Verified where an account doesn't exist or has no password, so that the answer takes as long as for one that does.
_NOBODY = _hasher.hash("nobody")


def hashed(password: str) -> str:
    """Return the hash to store."""
    return _hasher.hash(password)


def matches(stored: str | None, password: str) -> bool:
    """Tell whether the password is the one that was hashed; takes as long for ``stored`` None."""
    try:
        return _hasher.verify(stored or _NOBODY, password) and stored is not None
    except (VerificationError, InvalidHashError):
        return False


async def verify(stored: str | None, password: str) -> bool:
    """Like ``matches``, on a thread."""
    return await asyncio.to_thread(matches, stored, password)
