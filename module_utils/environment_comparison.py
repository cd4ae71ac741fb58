"""Compare what AWS has of an environment with what it should have. Pure: plain data in, plain data out.

A description is ``{kind: {name: {property: value}}}``, such as ``{"subnet": {"app-a": {"cidr": "10.0.0.0/20"}}}``.
Whatever one side has and the other hasn't is a difference, whether somebody thought of it or not: an object, a property
with a value, a member of a list. So a desired description lists all that may be there. Lists have no order.

Besides plain values a desired description may have ``ANY``, ``between``, ``matching`` and ``within``, an object may be
``optional``, and a name that begins with ``~`` is a regular expression for objects without a name of their own there.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any, Final

Description = Mapping[str, Mapping[str, Mapping[str, Any]]]
Difference = dict[str, Any]
"""kind, name, path (of the property; empty for the whole object), wanted and found (or None), line (for people)."""

ANY: Final = {"$any": True}
OPTIONAL: Final = "$optional"
EMPTY: Final[tuple[Any, ...]] = (None, False, "", [], {})
"""What is as good as not said."""
LONGEST: Final = 300
"""The most characters of a value that a line shows."""


def between(least: float, most: float) -> dict[str, Any]:
    """A number from ``least`` to ``most``."""
    return {"$between": [least, most]}


def matching(expression: str) -> dict[str, Any]:
    """A text that matches the regular expression as a whole."""
    return {"$matching": expression}


def within(most: list[Any], *, least: list[Any] | None = None) -> dict[str, Any]:
    """A list with no other members than ``most``, and with all of ``least``."""
    return {"$within": [most, least or []]}


def optional(properties: Mapping[str, Any]) -> dict[str, Any]:
    """An object that may be missing."""
    return {**properties, OPTIONAL: True}


def differences(desired: Description, found: Description) -> list[Difference]:
    """What differs, by kind and name."""
    return [
        difference
        for kind in sorted({*desired, *found})
        for difference in _of_kind(kind, desired.get(kind, {}), found.get(kind, {}))
    ]


def _of_kind(
    kind: str, desired: Mapping[str, Mapping[str, Any]], found: Mapping[str, Mapping[str, Any]]
) -> Iterator[Difference]:
    for name in sorted(found):
        wanted = _desired_object(desired, name)
        if wanted is None:
            yield _difference(kind, name, "", None, found[name], "isn't in the desired state")
            continue
        properties = {key: value for key, value in wanted.items() if key != OPTIONAL}
        yield from _of_value(kind, name, "", properties, found[name])
    for name, wanted in sorted(desired.items()):
        if name not in found and not name.startswith("~") and not wanted.get(OPTIONAL):
            yield _difference(kind, name, "", wanted, None, "is missing")


def _desired_object(desired: Mapping[str, Mapping[str, Any]], name: str) -> Mapping[str, Any] | None:
    if name in desired:
        return desired[name]
    return next((desired[key] for key in desired if key.startswith("~") and re.fullmatch(key[1:], name)), None)


def _of_value(kind: str, name: str, path: str, wanted: Any, found: Any) -> Iterator[Difference]:
    if isinstance(wanted, Mapping) and any(str(key).startswith("$") for key in wanted):
        if not _allows(wanted, found):
            yield _difference(
                kind, name, path, wanted, found, f"{path} is {_shown(found)}; it should be {_asked(wanted)}"
            )
    elif isinstance(wanted, Mapping) and isinstance(found, Mapping):
        for key in sorted({*wanted, *found}, key=str):
            below = f"{path} {key}".strip()
            if key not in wanted:
                # AWS names many things that are off, or empty.
                if found[key] not in EMPTY:
                    line = f"{below} is {_shown(found[key])}, which isn't in the desired state"
                    yield _difference(kind, name, below, None, found[key], line)
            elif key not in found and wanted[key] not in EMPTY and wanted[key] != ANY:
                line = f"{below} is missing; it should be {_asked(wanted[key])}"
                yield _difference(kind, name, below, wanted[key], None, line)
            elif key in found:
                yield from _of_value(kind, name, below, wanted[key], found[key])
    elif isinstance(wanted, list) and isinstance(found, list):
        asked, there = Counter(map(_text, wanted)), Counter(map(_text, found))
        for text in sorted((there - asked).elements()):
            member = json.loads(text)
            line = f"{path} has {_shown(member)}, which isn't in the desired state"
            yield _difference(kind, name, path, None, member, line)
        for text in sorted((asked - there).elements()):
            member = json.loads(text)
            yield _difference(kind, name, path, member, None, f"{path} lacks {_shown(member)}")
    elif wanted != found and not (wanted in EMPTY and found in EMPTY):
        yield _difference(kind, name, path, wanted, found, f"{path} is {_shown(found)}; it should be {_shown(wanted)}")


def _allows(wanted: Mapping[str, Any], found: Any) -> bool:
    match wanted:
        case {"$any": _}:
            return True
        case {"$between": [least, most]}:
            return isinstance(found, int | float) and least <= found <= most
        case {"$within": [most, least]}:
            return (
                isinstance(found, list) and all(each in most for each in found) and all(each in found for each in least)
            )
        case {"$matching": expression}:
            return isinstance(found, str) and re.fullmatch(expression, found) is not None
    raise ValueError(f"a desired description has {sorted(wanted)}, which means nothing")


def _asked(wanted: Any) -> str:
    match wanted:
        case {"$between": [least, most]}:
            return f"from {least} to {most}"
        case {"$within": [most, _]}:
            return f"of {_shown(most)}"
        case {"$matching": expression}:
            return f"of the form {expression}"
    return _shown(wanted)


def _text(value: Any) -> str:
    return json.dumps(value, sort_keys=True)


def _shown(value: Any) -> str:
    if value in EMPTY and not isinstance(value, int):
        return "nothing"
    match value:
        case bool():
            return "on" if value else "off"
        case str():
            text = value
        case _:
            text = _text(value)
    return text if len(text) <= LONGEST else text[:LONGEST] + " …"


def _difference(kind: str, name: str, path: str, wanted: Any, found: Any, what: str) -> Difference:
    line = f"{kind} {name} {what}" if path == "" else f"{kind} {name}: {what}"
    return {"kind": kind, "name": name, "path": path, "wanted": wanted, "found": found, "line": line}
