"""The filter that hashes the password of a gateway's page, so that the password never reaches the gateway."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable
from typing import Any

from ansible.errors import AnsibleFilterError

MIN_LENGTH = 10
MAX_LENGTH = 200
# As app/src/parkmesh/gateway/page/passwords.py, which checks it; a test compares.
_KIND = "pbkdf2-sha256"
_ROUNDS = 600_000


def page_password_hash(password: str, gateway: str, community: str) -> str:
    """The hash of a password for one gateway. The same inputs give the same hash, so that a second run changes nothing.

    The salt is the gateway's name and its community's: no two gateways have the same hash for the same password.
    """
    if not isinstance(password, str) or not MIN_LENGTH <= len(password) <= MAX_LENGTH:
        raise AnsibleFilterError(f"the password of {gateway}'s page must have {MIN_LENGTH} to {MAX_LENGTH} characters")
    salt = hashlib.sha256(f"parkmesh page\0{community}\0{gateway}".encode()).digest()[:16]
    digest = hashlib.pbkdf2_hmac("sha256", str(password).encode(), salt, _ROUNDS)
    return f"{_KIND}:{_ROUNDS}:{base64.b64encode(salt).decode()}:{base64.b64encode(digest).decode()}"


class FilterModule:
    def filters(self) -> dict[str, Callable[..., Any]]:
        return {"gateway_page_password_hash": page_password_hash}
