"""Hikvision's ISAPI plate messages, as cameras and recorders of many firmwares push them: bytes in, plain data out.

A camera posts multipart/form-data with ``anpr.xml`` and one or two JPEGs, or the bare XML. Namespaces, prefixes, part
names and types vary, blocks are missing, and what people typed into the camera breaks the XML; what is read is found
by local names and by what the bytes are. With ``<parameterFormatType>JSON`` in its list of HTTP hosts the same names
come as JSON. A recorder forwards the messages of its cameras, each with its ``channelID``.

Sources: ISAPI's EventNotificationAlert; parkpow/deep-license-plate-recognition, parkpow/hikvision_lpr/assets/anpr.xml;
node-red-contrib-hikvision-ultimate (devices that send XML and devices that send JSON).
"""

import hashlib
import re
from collections.abc import Callable
from xml.etree.ElementTree import Element

import msgspec

from parkmesh.gateway.drivers import camera_json, camera_values, multipart
from parkmesh.gateway.drivers.camera_xml import from_utf16, is_utf16, local, tree, trimmed
from parkmesh.gateway.drivers.types import PlateRead, PoisonError

Find = Callable[..., str | None]
"""Gives the first non-empty text of the fields with these names, in order of the names."""


def _find_in(root: Element) -> Find:
    def find(*names: str) -> str | None:
        for name in names:
            for element in root.iter():
                if local(element.tag) == name and element.text and element.text.strip():
                    return element.text.strip()
        return None

    return find


def parse(message: bytes) -> PlateRead:
    """Read the XML or JSON of one message; raise PoisonError where it isn't an alert."""
    if camera_json.is_json(message):
        found = camera_json.document(message)
        rest = msgspec.json.encode({**found, "isDataRetransmission": None}) if isinstance(found, dict) else b""

        def find(*names: str) -> str | None:
            return camera_json.first(found, *names)

        if find("eventType", "licensePlate") is None:
            raise PoisonError("the JSON has neither eventType nor licensePlate")
        return _read(find, camera_json.has(found, "ANPR"), rest)
    xml = from_utf16(message)
    root = tree(xml)
    if local(root.tag) != "EventNotificationAlert":
        raise PoisonError(f"the XML's root is {local(root.tag)[:64]!r}, not EventNotificationAlert")
    # The flag differs between a message and its repetition; everything else is equal.
    rest = re.sub(rb"<[^<>]*isDataRetransmission>[^<]*<[^<>]*isDataRetransmission>", b"", xml)
    return _read(_find_in(root), any(local(element.tag) == "ANPR" for element in root.iter()), rest)


def _read(find: Find, has_block: bool, rest: bytes) -> PlateRead:
    uuid, picture = find("UUID", "uuid"), find("pId")
    return PlateRead(
        event_id=camera_values.event_id(uuid, picture) or "sha256:" + hashlib.sha256(rest).hexdigest()[:32],
        anpr=has_block or (find("eventType") or "").upper() in ("ANPR", "VEHICLEDETECTION"),
        plate=find("licensePlate", "originalLicensePlate"),
        confidence=camera_values.percent_or_share(find("confidenceLevel")),
        at=camera_values.iso_ms(find("dateTime")),
        direction=find("direction"),
        retransmitted=(find("isDataRetransmission") or "").lower() in ("true", "1"),
        active=(find("eventState") or "active").lower() != "inactive",
        channel=find("channelID", "dynChannelID"),
    )


def extract(body: bytes, content_type: str) -> bytes:
    """Return the XML or JSON of a camera's POST: of its multipart body, or the body itself; raise PoisonError if there
    is none.

    Pictures are left behind: they are personal data that nothing here needs.
    """
    if not body.strip():
        raise PoisonError("the body is empty")
    if is_utf16(body):
        return body
    start = body.lstrip(b"\xef\xbb\xbf\x00 \t\r\n")
    if start.startswith(b"<"):
        return start
    if camera_json.is_json(body):
        return camera_json.kept(body)
    for headers, content in multipart.parts(body, content_type):
        content = trimmed(content)
        if b"xml" in headers or content.startswith(b"<") or is_utf16(content):
            return content
        if camera_json.is_json(content):
            return camera_json.kept(content)
    raise PoisonError("the multipart body has no XML or JSON part")
