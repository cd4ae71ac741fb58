"""Hikvision's ISAPI plate messages, as cameras of many firmwares push them: bytes in, plain data out.

A camera posts multipart/form-data with ``anpr.xml`` and one or two JPEGs, or the bare XML. Namespaces, prefixes, part
names and types vary, blocks are missing, and what people typed into the camera breaks the XML; what is read is found
by local names and by what the bytes are.
"""

import hashlib
import math
import re
from datetime import UTC, datetime
from xml.etree.ElementTree import Element, ParseError

from defusedxml import DefusedXmlException
from defusedxml.ElementTree import fromstring

from parkmesh.gateway.drivers.camera_xml import from_utf16, is_utf16, repaired, trimmed
from parkmesh.gateway.drivers.types import PlateRead, PoisonError

MAX_XML = 256 * 1024
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def _local(tag: object) -> str:
    # A comment's tag is a function; it has no name.
    return tag.rpartition("}")[2].rpartition(":")[2] if isinstance(tag, str) else ""


def _text(root: Element, *names: str) -> str | None:
    """Return the first non-empty text of the elements with these local names, in order of the names."""
    for name in names:
        for element in root.iter():
            if _local(element.tag) == name and element.text and element.text.strip():
                return element.text.strip()
    return None


def _confidence(text: str | None) -> float | None:
    """Read 97, 97.0 or 0.97 as 0.97; None for other text and numbers out of range."""
    try:
        value = float(text) if text else math.nan
    except ValueError:
        return None
    if not 0 <= value <= 100:  # also refuses NaN
        return None
    # A whole 1 is one percent; only a fraction written as one is a share.
    return value if text and "." in text and value <= 1 else value / 100


def _millis(text: str | None) -> int | None:
    """Read an ISO 8601 time; a camera without a zone is taken as UTC (its offset is learned like any wrong clock)."""
    if not text:
        return None
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    millis = int((moment - _EPOCH).total_seconds() * 1000)
    return millis if millis >= 0 else None


_PREFIX = re.compile(rb"<(/?)[A-Za-z_][\w.-]*:")


def _root(xml: bytes) -> Element:
    if len(xml) > MAX_XML:
        raise PoisonError(f"the XML has {len(xml)} bytes, more than {MAX_XML}")
    try:
        try:
            return _tree(xml)
        except (ParseError, ValueError, LookupError):
            return _tree(repaired(xml))
    except DefusedXmlException as error:
        raise PoisonError(f"the XML has a forbidden construct ({type(error).__name__})") from None
    except (ParseError, ValueError, LookupError) as error:
        raise PoisonError(f"the XML is broken: {error}") from None


def _tree(xml: bytes) -> Element:
    try:
        return fromstring(xml, forbid_dtd=True)
    except ParseError as error:
        # Some firmware prefixes its tags and never declares the prefix.
        if "unbound prefix" not in str(error):
            raise
        return fromstring(_PREFIX.sub(rb"<\1", xml), forbid_dtd=True)


def parse(xml: bytes) -> PlateRead:
    """Read the XML of one message; raise PoisonError where it isn't an alert."""
    xml = from_utf16(xml)
    root = _root(xml.strip(b"\x00 \t\r\n"))
    if _local(root.tag) != "EventNotificationAlert":
        raise PoisonError(f"the XML's root is {_local(root.tag)[:64]!r}, not EventNotificationAlert")
    event_type = _text(root, "eventType") or ""
    has_block = any(_local(element.tag) == "ANPR" for element in root.iter())
    uuid, picture = _text(root, "UUID", "uuid"), _text(root, "pId")
    if uuid or picture:
        event_id = ":".join(part for part in (uuid, picture) if part)
    else:
        # The flag differs between a message and its repetition; everything else is equal.
        digest = re.sub(rb"<[^<>]*isDataRetransmission>[^<]*<[^<>]*isDataRetransmission>", b"", xml)
        event_id = "sha256:" + hashlib.sha256(digest).hexdigest()[:32]
    return PlateRead(
        event_id=event_id[:190],
        anpr=has_block or event_type.upper() in ("ANPR", "VEHICLEDETECTION"),
        plate=_text(root, "licensePlate", "originalLicensePlate"),
        confidence=_confidence(_text(root, "confidenceLevel")),
        at=_millis(_text(root, "dateTime")),
        direction=_text(root, "direction"),
        retransmitted=(_text(root, "isDataRetransmission") or "").lower() in ("true", "1"),
        active=(_text(root, "eventState") or "active").lower() != "inactive",
    )


_BOUNDARY = re.compile(r'boundary="?([^";,\s]+)"?', re.IGNORECASE)


def extract(body: bytes, content_type: str) -> bytes:
    """Return the XML of a camera's POST: of its multipart body, or the body itself; raise PoisonError if there is none.

    Pictures are left behind: they are personal data that nothing here needs.
    """
    if not body.strip():
        raise PoisonError("the body is empty")
    if is_utf16(body):
        return body
    start = body.lstrip(b"\xef\xbb\xbf\x00 \t\r\n")
    if start.startswith(b"<"):
        return start
    match = _BOUNDARY.search(content_type)
    # A camera that forgets the parameter still writes the boundary as the first line.
    boundary = match[1].encode("latin-1", "replace") if match else start.split(b"\n", 1)[0].strip().removeprefix(b"--")
    if not boundary or len(boundary) > 200 or b"--" + boundary not in body:
        raise PoisonError("the body is neither XML nor multipart")
    for part in body.split(b"--" + boundary)[1:]:
        for blank in (b"\r\n\r\n", b"\n\n"):
            headers, found, content = part.partition(blank)
            if found:
                break
        else:
            continue
        content = trimmed(content)
        if b"xml" in headers.lower() or content.startswith(b"<") or is_utf16(content):
            return content
    raise PoisonError("the multipart body has no XML part")
