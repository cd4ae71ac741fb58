"""Cameras without a driver of their own: what they post is read by the configuration's mapping (``gateway.mapping``).

A message is read when it comes in, and kept as what was read: so a change of the mapping changes nothing that was
accepted before.
"""

from typing import Any
from xml.etree.ElementTree import Element

import msgspec

from parkmesh.gateway import mapping as paths
from parkmesh.gateway.drivers import camera_json, camera_values, camera_xml
from parkmesh.gateway.drivers.types import PlateRead, PoisonError
from parkmesh.gateway.mapping import Mapping

_PER_SECOND = {"s": 1, "ms": 1000, "us": 1_000_000}
_MOST_READS = 32
_DEEPEST = 32
_LONGEST_PLATE = 64


def extract(body: bytes, content_type: str) -> bytes:
    """Return what ``read`` returned as it is. Raises PoisonError for anything else."""
    parse(body)
    return body


def parse(message: bytes) -> PlateRead:
    """Read a message that ``read`` returned. Raises PoisonError."""
    try:
        return msgspec.json.decode(message, type=PlateRead)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise PoisonError(f"not a read by a mapping: {error}") from None


def read(mapping: Mapping, body: bytes, content_type: str) -> list[bytes]:
    """Return the reads of a POST, none where it isn't about a plate. Raises PoisonError."""
    if mapping.format == "json":
        document = camera_json.document(camera_json.extract(body, content_type))
    else:
        root = camera_xml.tree(camera_xml.extract(body, content_type))
        document = {camera_xml.local(root.tag): _as_json(root, 0)}
    for path, values in mapping.only.items():
        if camera_values.text(paths.one(document, document, path)) not in values:
            return []
    found = list(paths.every(document, mapping.reads)) if mapping.reads else [document]
    # A plate that is null or empty is a car without a plate; one that isn't there is a wrong mapping.
    if mapping.reads is None and not any(True for _ in paths.every(document, mapping.plate)):
        raise PoisonError(f"there is nothing at the path {mapping.plate!r} of the plate")
    if not found:
        raise PoisonError(f"there is nothing at the path {mapping.reads!r} of the reads")
    if len(found) > _MOST_READS:
        raise PoisonError(f"the message has {len(found)} reads, more than {_MOST_READS}")
    return [msgspec.json.encode(_read(mapping, document, one)) for one in found]


def _read(mapping: Mapping, document: Any, one: Any) -> PlateRead:
    def value(path: str | None) -> Any:
        found = paths.one(document, one, path)
        # An element with attributes has its text beside them.
        return found.get("#text") if isinstance(found, dict) else found

    plate, car, channel = (camera_values.text(value(path)) for path in (mapping.plate, mapping.car, mapping.channel))
    event, moment = camera_values.text(value(mapping.event)), value(mapping.time)
    if mapping.time_format == "iso":
        at = camera_values.iso_ms(moment)
    else:
        at = camera_values.epoch_ms(moment, _PER_SECOND[mapping.time_format])
    # The camera's own id of a message, or all that is in it. Two plates of one message are two events.
    named = camera_values.digest(event or msgspec.json.encode(document), plate, channel)
    return PlateRead(
        event_id=named,
        anpr=True,
        # Longer than any plate: cut, it must not become one.
        plate=plate if plate is None or len(plate) <= _LONGEST_PLATE else plate[:_LONGEST_PLATE] + "?",
        confidence=camera_values.share(value(mapping.confidence), mapping.confidence_max),
        at=at,
        direction=(camera_values.text(value(mapping.direction)) or "")[:64] or None,
        car_id=car[:100] if car else None,
        channel=channel[:100] if channel else None,
    )


def _as_json(element: Element, depth: int) -> Any:
    if depth > _DEEPEST:
        raise PoisonError(f"the XML is nested deeper than {_DEEPEST}")
    written = (element.text or "").strip()
    found: dict[str, Any] = {f"@{camera_xml.local(name)}": value for name, value in element.attrib.items()}
    for child in element:
        name = camera_xml.local(child.tag)
        if not name:
            continue
        inside = _as_json(child, depth + 1)
        if name not in found:
            found[name] = inside
        elif isinstance(found[name], list):
            found[name].append(inside)
        else:
            found[name] = [found[name], inside]
    if not found:
        return written or None
    return {**found, "#text": written} if written else found
