"""Addresses in e-mails with which a reader ends e-mails of that kind, without signing in (RFC 8058).

The token names user, community and kind, encrypted with the servers' secret: it needs no row of its own, and nobody can
make one for somebody else. It can only end e-mails.
"""

import base64
import binascii
import hmac
import json
from dataclasses import dataclass

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESSIV

from parkmesh.server.notifications import preferences
from parkmesh.server.notifications.preferences import Kind


@dataclass(frozen=True)
class Unsubscribing:
    """``community_id`` is None for e-mails to the operator's desk."""

    user_id: int
    community_id: int | None
    kind: Kind


def _cipher(secret: str) -> AESSIV:
    return AESSIV(hmac.digest(secret.encode(), b"unsubscribe", "sha256"))


def token(secret: str, of: Unsubscribing) -> str:
    text = json.dumps([of.user_id, of.community_id, of.kind]).encode()
    return base64.urlsafe_b64encode(_cipher(secret).encrypt(text, None)).decode().rstrip("=")


def read(secret: str, token: str) -> Unsubscribing | None:
    """Return what a token ends; None for one that wasn't made with this secret."""
    try:
        raw = base64.b64decode(token + "=" * (-len(token) % 4), altchars=b"-_", validate=True)
        user_id, community_id, kind = json.loads(_cipher(secret).decrypt(raw, None))
    except (binascii.Error, InvalidTag, ValueError, UnicodeEncodeError):
        return None
    found = preferences.known(kind)
    return Unsubscribing(user_id, community_id, found) if found else None
