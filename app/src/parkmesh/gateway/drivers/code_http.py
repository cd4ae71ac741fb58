"""Scanners and keypads that post what was scanned or typed: as JSON, as a form, or bare.

No standard names the field; readers that can be set up let an installer write the message (docs/gateway.md), so its
name is a setting. What is scanned or typed is never part of an error.
"""

from urllib.parse import parse_qs

import msgspec

from parkmesh.gateway.drivers.types import PoisonError

MAX_BODY = 4096
_MOST = 500


def code(body: bytes, content_type: str, field: str) -> str:
    """Return what was scanned or typed. Raises PoisonError."""
    kind = content_type.partition(";")[0].strip().lower()
    bare = body.removeprefix(b"\xef\xbb\xbf").strip()
    if bare.startswith(b"{"):  # whatever the header says
        found = _of_json(bare, field)
    elif kind == "application/x-www-form-urlencoded":
        found = _of_form(bare, field)
    else:
        found = _decoded(bare)
    found = found.strip()
    if not found or len(found) > _MOST:
        raise PoisonError(f"there is no code in the message (field {field!r})")
    return found


def _decoded(body: bytes) -> str:
    try:
        return body.decode()
    except UnicodeDecodeError:
        return body.decode("latin-1")


def _of_json(body: bytes, field: str) -> str:
    try:
        message = msgspec.json.decode(body, type=dict[str, object])
    except (msgspec.DecodeError, UnicodeDecodeError):
        raise PoisonError("the message isn't JSON") from None
    found = message.get(field)
    if isinstance(found, str):
        return found
    # A keypad that sends a number has lost the zeros in front: the PIN has to be a text.
    raise PoisonError(f"the field {field!r} isn't there, or is no text")


def _of_form(body: bytes, field: str) -> str:
    found = parse_qs(_decoded(body)).get(field)
    if not found:
        raise PoisonError(f"the field {field!r} isn't there")
    return found[0]
