"""The test of a community's gates: which cars are driven past which cameras, and what came of it. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

Record = Mapping[str, Any]

# On no list, and no plate of the test's could be misread as it.
UNKNOWN: Final = "XZ000QW"


def cars(cameras: Sequence[Record], plates: Sequence[str]) -> list[dict[str, Any]]:
    """The cars in their order: in at each entry, out at each exit, and one that nobody knows at the first entry.

    The cars that came in leave first, so that a community with exits counts nobody as inside afterwards. Each has the
    keys plate, camera, kind, gate, direction and expect (``granted`` or ``denied``).
    """
    found = []
    for direction in ("entry", "exit"):
        there = [camera for camera in cameras if camera["direction"] == direction]
        found += [_car(camera, plate, "granted") for camera, plate in zip(there, plates, strict=False)]
    entries = [camera for camera in cameras if camera["direction"] == "entry"]
    return found + [_car(camera, UNKNOWN, "denied") for camera in entries[:1]]


def _car(camera: Record, plate: str, expect: str) -> dict[str, Any]:
    place = {key: camera[key] for key in ("kind", "gate", "direction")}
    return {"plate": plate, "camera": camera["name"], **place, "expect": expect}


def results(
    driven: Sequence[Record], passages: Sequence[Record], errors: Sequence[str], health: Record
) -> list[dict[str, Any]]:
    """What came of each car and of each check of the gateway's health: ``what``, ``well`` and ``found`` in words, and
    beside them, for other languages, what the words are made of: camera, gate, direction and expect, or check.

    ``errors`` are what sending each car's message said; ``passages`` are those that the application stored, the latest
    of each plate in each direction.
    """
    found = []
    for car, error in zip(driven, [*errors, *[""] * len(driven)], strict=False):
        passage = next((one for one in passages if _same(one, car)), None)
        well, words = _judge(car, passage, error)
        known = "A car on the list" if car["expect"] == "granted" else "A car that nobody knows"
        place = {key: car[key] for key in ("camera", "gate", "direction", "expect")}
        what = f"{known} at {car['camera']} ({car['gate']}, {car['direction']})"
        found.append({"what": what, "well": well, "found": words, **place})
    for check, fault in health.get("checks", {}).items():
        found.append({"what": f"Gateway: {check}", "well": fault is None, "found": fault or "well", "check": check})
    return found


def _same(passage: Record, car: Record) -> bool:
    return all(passage[key] == car[key] for key in ("plate", "gate", "direction"))


def _judge(car: Record, passage: Record | None, error: str) -> tuple[bool, str]:
    if passage is None:
        return False, error or "no passage reached the application"
    if passage["decision"] != car["expect"]:
        return False, f"{passage['decision']} ({passage['reason']})"
    if car["expect"] == "denied":
        return True, "the gate stayed shut"
    if not passage["opened"]:
        return False, "let in, but the relay didn't confirm: look at its wiring and its address"
    return True, "the barrier opened, and the application has the passage"
