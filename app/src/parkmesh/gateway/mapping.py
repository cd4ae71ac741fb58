"""A mapping: where a camera without a driver writes what in its messages. Pure: the language, its check, its reading.

A path is names with dots between them, as in ``data.results[0].plate``. ``[0]`` is the first of a list, ``[-1]`` the
last, ``[*]`` each one (only in ``reads``). A name with other characters than letters, digits, ``_``, ``-``, ``@`` and
``#`` stands in quotes. A name that is asked of a list is asked of its first. With ``reads``, paths begin at each of
those; ``$`` begins at the whole message.

XML is read as if it were JSON: an element is an object with its children by their local names, its attributes by
``@name`` and its text as ``#text``; an element with neither children nor attributes is its text. The root is a name,
too.
"""

import re
from collections.abc import Iterator
from typing import Annotated, Any, Literal

from msgspec import Meta, Struct

Path = Annotated[str, Meta(min_length=1, max_length=200)]
Step = str | int | None
"""A name, a place in a list, or None for each one of it."""

_STEP = re.compile(r'\.?(?:(?P<name>[\w@#-]+)|"(?P<quoted>[^"]+)")|\[(?:(?P<index>-?[0-9]{1,4})|(?P<each>\*))\]')


class MappingError(Exception):
    """A mapping can't be used; one line that names the path and the place in it."""


class Mapping(Struct, frozen=True, forbid_unknown_fields=True):
    """Where a message has what. ``only`` are values that a message must have at some paths to be about a plate."""

    plate: Path
    format: Literal["json", "xml"] = "json"
    reads: Path | None = None
    confidence: Path | None = None
    confidence_max: Annotated[float, Meta(gt=0, le=10_000)] = 1
    time: Path | None = None
    time_format: Literal["iso", "s", "ms", "us"] = "iso"
    direction: Path | None = None
    event: Path | None = None
    car: Path | None = None
    channel: Path | None = None
    only: dict[str, Annotated[list[str], Meta(min_length=1, max_length=32)]] = {}


def steps(path: str) -> tuple[Step, ...]:
    """Return a path's steps without the ``$`` in front. Raises MappingError."""
    at = 1 if path.startswith("$") else 0
    found: list[Step] = []
    while at < len(path):
        step = _STEP.match(path, at)
        if step is None or (at == 0 and path.startswith(".")):
            raise MappingError(f"path {path!r} can't be read from {path[at:]!r} on")
        if step["each"]:
            found.append(None)
        else:
            found.append(int(step["index"]) if step["index"] else step["name"] or step["quoted"])
        at = step.end()
        if at < len(path) and path[at] not in ".[":
            raise MappingError(f"path {path!r} can't be read from {path[at:]!r} on")
    if not found and not path.startswith("$"):
        raise MappingError(f"path {path!r} is empty")
    return tuple(found)


def check(mapping: Mapping) -> None:
    """Raise MappingError for the first path that can't be used."""
    fields = ("plate", "confidence", "time", "direction", "event", "car", "channel")
    named = [(name, path) for name in fields if (path := getattr(mapping, name)) is not None]
    for name, path in [*named, *(("only", path) for path in mapping.only)]:
        try:
            each = None in steps(path)
        except MappingError as error:
            raise MappingError(f"{name}: {error}") from None
        if each:
            raise MappingError(f"{name}: path {path!r} has [*], which only reads can have")
    if mapping.reads is not None:
        try:
            steps(mapping.reads)
        except MappingError as error:
            raise MappingError(f"reads: {error}") from None


def every(document: Any, path: str) -> Iterator[Any]:
    """Yield what lies at a path, one for each with ``[*]``; nothing where there is nothing."""
    yield from _follow(document, steps(path))


def one(document: Any, read: Any, path: str | None) -> Any:
    """Return what lies at a path of a read, or of the whole document with ``$``; None where there is nothing."""
    if path is None:
        return None
    return next(every(document if path.startswith("$") else read, path), None)


def _follow(found: Any, rest: tuple[Step, ...]) -> Iterator[Any]:
    if not rest:
        yield found
        return
    step, *after = rest
    if step is None:
        for each in found if isinstance(found, list) else [found]:
            yield from _follow(each, tuple(after))
        return
    if isinstance(step, int):
        listed = found if isinstance(found, list) else [found]
        if -len(listed) <= step < len(listed):
            yield from _follow(listed[step], tuple(after))
        return
    if isinstance(found, list):
        found = found[0] if found else None
    if isinstance(found, dict) and step in found:
        yield from _follow(found[step], tuple(after))
