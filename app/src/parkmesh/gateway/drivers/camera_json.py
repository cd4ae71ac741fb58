"""JSON as cameras write it: found in a body, read though it is not quite JSON, and kept without its pictures. Pure.

A message comes bare or as a part of multipart, in UTF-8, UTF-16 or in something else under UTF-8's name, and with raw
control characters. What can't be read becomes U+FFFD and never vanishes: a plate with an unreadable place is no plate.
Pictures in base64 are personal data that nothing here needs: long texts are left out.
"""

import json
import re
from collections.abc import Iterator
from typing import Any

import msgspec

from parkmesh.gateway.drivers import camera_values, multipart
from parkmesh.gateway.drivers.types import PoisonError

MAX_KEPT = 256 * 1024
_LONGEST_TEXT = 1024
_DEEPEST = 32
_PADDING = b"\xef\xbb\xbf\x00 \t\r\n"
_SURROGATE = re.compile("[\ud800-\udfff]")


def is_json(message: bytes) -> bool:
    """Tell whether bytes begin as a JSON object or list does, in UTF-8 or UTF-16."""
    start = message[:64].lstrip(_PADDING + b"\xff\xfe")
    return start.startswith((b"{", b"["))


def extract(body: bytes, content_type: str) -> bytes:
    """Return the JSON of a POST as UTF-8 without pictures: the body itself, or the first part of it that is JSON.

    Of what it returned it returns the same. Raises PoisonError.
    """
    if is_json(body):
        return kept(body)
    for _, content in multipart.parts(body, content_type):
        if is_json(content):
            return kept(content)
    raise PoisonError("the multipart body has no JSON part")


def kept(message: bytes) -> bytes:
    """Return a message as UTF-8 without pictures. Raises PoisonError."""
    found = msgspec.json.encode(document(message))
    if len(found) > MAX_KEPT:
        raise PoisonError(f"the JSON has {len(found)} bytes without its pictures, more than {MAX_KEPT}")
    return found


def document(message: bytes) -> Any:
    """Read a message: an object or a list, without its pictures. Raises PoisonError."""
    try:
        return _without_pictures(msgspec.json.decode(message), 0)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return _without_pictures(_almost_json(message), 0)


def _almost_json(message: bytes) -> Any:
    encoding = "utf-8"
    if message.startswith((b"\xff\xfe", b"\xfe\xff")):
        encoding = "utf-16"
    elif message[1:2] == b"\x00":
        encoding = "utf-16-le"
    elif message[:1] == b"\x00":
        encoding = "utf-16-be"
    written = message.decode(encoding, "replace").strip("\ufeff\x00 \t\r\n")
    if encoding != "utf-8":
        written = written.rstrip("\ufffd")  # half a character: the line end before a boundary
    try:
        # Whatever follows the message is padding, or was cut off from something else.
        return json.JSONDecoder(strict=False).raw_decode(written)[0]
    except (ValueError, RecursionError) as error:
        raise PoisonError(f"the JSON is broken: {error}") from None


def at(found: Any, *keys: str) -> Any:
    """Return what lies at these keys, one in the other; None where there is nothing."""
    for key in keys:
        found = found.get(key) if isinstance(found, dict) else None
    return found


def first(found: Any, *names: str) -> str | None:
    """Return the first text or number, wherever it lies, that has one of these keys, in order of the keys."""
    for name in names:
        for key, value in _everything(found):
            if key == name and (written := camera_values.text(value)):
                return written
    return None


def has(found: Any, name: str) -> bool:
    """Tell whether there is an object with this key, wherever it lies."""
    return any(key == name and isinstance(value, dict) for key, value in _everything(found))


def _everything(found: Any) -> Iterator[tuple[str, Any]]:
    inside = found.items() if isinstance(found, dict) else (("", one) for one in found)
    for key, value in inside:
        yield key, value
        if isinstance(value, dict | list):
            yield from _everything(value)


def _without_pictures(found: Any, depth: int) -> Any:
    if depth > _DEEPEST:
        raise PoisonError(f"the JSON is nested deeper than {_DEEPEST}")
    if isinstance(found, dict):
        return {
            _readable(key): _without_pictures(value, depth + 1)
            for key, value in found.items()
            if not _is_picture(key) and not _is_picture(value)
        }
    if isinstance(found, list):
        return [_without_pictures(value, depth + 1) for value in found if not _is_picture(value)]
    if isinstance(found, int) and not isinstance(found, bool) and abs(found) >= 2**63:
        return str(found) if abs(found) < 2**64 else None
    return _readable(found) if isinstance(found, str) else found


def _is_picture(value: Any) -> bool:
    return isinstance(value, str) and len(value) > _LONGEST_TEXT


def _readable(written: str) -> str:
    return _SURROGATE.sub("\ufffd", written)
