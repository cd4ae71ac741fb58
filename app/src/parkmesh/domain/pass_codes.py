"""The QR code and the PIN of a visitor pass; gateway and server share them.

A code says which pass it is of, when that is valid, and which of the pass's codes it is (``number``: a new link has a
new one). It is signed with the community's key, so that a gateway believes it without asking anybody, also one whose
list is older than the pass. It is letters and digits only: scanners that type like a keyboard get those right in every
layout, and a QR code of them is small.

A PIN can't say anything itself. The list has what ``pin_digest`` makes of it, which costs a gateway a moment and
somebody who has taken a gateway's disk that moment for each PIN that they try.

Whoever has a picture of the code has the pass.
"""

import base64
import binascii
import hashlib
import hmac
import re
import struct

from msgspec import Struct

PIN_DIGITS = 8
KEY_BYTES = 32
_PREFIX = "PM1"
_FIELDS = struct.Struct(">QIQQ")
_SIGNED_BYTES = 16
_MOST_TYPED = 200
_SCRYPT = {"n": 2**13, "r": 8, "p": 1, "dklen": 16}


class Code(Struct, frozen=True):
    """What a code says: its pass, which of the pass's codes it is, and when the pass is valid (ms, until excluded)."""

    visitor_pass: int
    number: int
    valid_from: int
    valid_until: int


def _signature(key: bytes, fields: bytes) -> bytes:
    return hmac.digest(key, b"parkmesh pass code 1" + fields, "sha256")[:_SIGNED_BYTES]


def text(key: bytes, code: Code) -> str:
    """Return what the QR code holds."""
    fields = _FIELDS.pack(code.visitor_pass, code.number, code.valid_from, code.valid_until)
    return _PREFIX + base64.b32encode(fields + _signature(key, fields)).decode().rstrip("=")


def read(key: bytes, scanned: str) -> Code | None:
    """Return what a scanned text says; None where it isn't signed with this key."""
    bare = scanned.strip().upper()
    if not key or not bare.startswith(_PREFIX) or len(bare) > _MOST_TYPED or not bare.isascii():
        return None
    body = bare.removeprefix(_PREFIX)
    try:
        signed = base64.b32decode(body + "=" * (-len(body) % 8))
    except binascii.Error:
        return None
    fields, signature = signed[: _FIELDS.size], signed[_FIELDS.size :]
    if len(fields) != _FIELDS.size or not hmac.compare_digest(signature, _signature(key, fields)):
        return None
    return Code(*_FIELDS.unpack(fields))


def pin(secret: bytes, visitor_pass: int, number: int) -> str:
    """Return the PIN of a pass's code. ``secret`` isn't the key that gateways have."""
    made = hmac.digest(secret, struct.pack(">QI", visitor_pass, number), "sha256")
    return f"{int.from_bytes(made[:8]) % 10**PIN_DIGITS:0{PIN_DIGITS}d}"


def typed_pin(typed: str) -> str | None:
    """Return the PIN that somebody typed, with spaces or the keypad's own ``#``; None for what can be no PIN."""
    digits = re.sub(r"[\s#*-]", "", typed[:_MOST_TYPED])
    return digits if len(digits) == PIN_DIGITS and digits.isascii() and digits.isdigit() else None


def pin_digest(key: bytes, digits: str) -> str:
    """Return what a list holds of a PIN (hex). Takes some 20 ms and 8 MB."""
    return hashlib.scrypt(digits.encode(), salt=key, **_SCRYPT).hex()
