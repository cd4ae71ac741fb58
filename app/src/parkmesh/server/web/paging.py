"""Pages of long lists: an opaque cursor names the last item of the page before.

A route takes ``page: paging.Page``, reads ``page.fetch`` items that come after ``page.after(…)`` in its order, and
answers with ``items, next = page.cut(found, place)``. The place is a key that orders the list without ties, for example
``(received_at, id)``. Pages for people also lead back: they read in the direction ``page.way`` and cut with ``turned``.

A cursor is encrypted: places hold names and plates, and addresses of pages end up in logs. It belongs to one list: a
cursor that was altered, made up or taken from another list is 422.
"""

import base64
import binascii
import hmac
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, TypeVar

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESSIV
from fastapi import Depends, Query, Request

from parkmesh.server.db import keyset
from parkmesh.server.http.problems import Problem

PAGE = 50
MAX_PAGE = 200
MAX_CURSOR = 512
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_BEFORE = "before"
"""The name of a cursor's place that its page ends before; other cursors are the list of their place alone."""

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Turns:
    """The cursors of the pages beside a page: None where there is none, "" for the first page of the list."""

    previous: str | None
    next: str | None


@dataclass(frozen=True)
class PageAsked:
    """The page of a list that a request asks for."""

    limit: int
    cursor: str | None
    _key: bytes

    @property
    def fetch(self) -> int:
        """How many items to read: one more than the page shows tells whether there is another page."""
        return self.limit + 1

    @property
    def way(self) -> keyset.Way:
        """Whether the page is read on from its place or back from it."""
        return keyset.BACK if self.cursor is not None and isinstance(self._given(self.cursor), dict) else keyset.ON

    def after(self, *form: type) -> tuple[Any, ...] | None:
        """Return the place of the last item of the page before, or None for the first page; on the way back the place
        of the first item of the page after.

        ``form`` gives the types of the place: ``int``, ``str`` and ``datetime``. Raises ``Problem`` 422 for a cursor
        that this list did not give out.
        """
        if self.cursor is None:
            return None
        given = self._given(self.cursor)
        try:
            place = given[_BEFORE] if isinstance(given, dict) else given
            return tuple(_read(value, kind) for value, kind in zip(place, form, strict=True))
        except (ValueError, TypeError, OverflowError):
            raise _unknown() from None

    def cut(self, found: Sequence[T], place: Callable[[T], tuple[Any, ...]]) -> tuple[list[T], str | None]:
        """Return the items of this page and the cursor of the next one (None: this is the last page)."""
        items = list(found[: self.limit])
        return items, self._encode(place(items[-1])) if len(found) > self.limit else None

    def turned(self, found: Sequence[T], place: Callable[[T], tuple[Any, ...]]) -> tuple[list[T], Turns]:
        """Return the items of this page in the list's order, and where the pages beside it begin."""
        items, more = list(found[: self.limit]), len(found) > self.limit
        back = self.way is keyset.BACK
        if not items:
            # What was here is gone: the way out is the beginning of the list.
            return [], Turns(previous=None if self.cursor is None or back else "", next="" if back else None)
        if back:
            items.reverse()
        # A page that was turned to lies beside the page that it was turned from.
        return items, Turns(
            previous=self._encode(place(items[0]), back=True) if (more if back else self.cursor is not None) else None,
            next=self._encode(place(items[-1])) if back or more else None,
        )

    def _given(self, cursor: str) -> Any:
        try:
            raw = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True)
            return json.loads(AESSIV(self._key).decrypt(raw, None))
        except (binascii.Error, InvalidTag, ValueError):
            raise _unknown() from None

    def _encode(self, place: tuple[Any, ...], *, back: bool = False) -> str:
        written = [_written(value) for value in place]
        text = json.dumps({_BEFORE: written} if back else written, separators=(",", ":")).encode()
        # The same place is always the same cursor: a page that didn't change keeps its ETag.
        return base64.urlsafe_b64encode(AESSIV(self._key).encrypt(text, None)).decode().rstrip("=")


def _unknown() -> Problem:
    return Problem(422, "cursor: not one that this list gave out", kind="invalid")


def _written(value: Any) -> int | str:
    if isinstance(value, datetime):
        return (value - _EPOCH) // _MICROSECOND
    if isinstance(value, int | str):
        return value
    raise TypeError(f"a place in a list can't hold {type(value).__name__}")


def _read(value: Any, kind: type) -> Any:
    if kind is datetime and type(value) is int:
        return _EPOCH + value * _MICROSECOND
    if type(value) is not kind:
        raise ValueError
    return value


def _asked(
    request: Request,
    limit: Annotated[int, Query(ge=1, le=MAX_PAGE, description="Items on a page.")] = PAGE,
    cursor: Annotated[
        str | None, Query(max_length=MAX_CURSOR, description="`next` of the page before; absent for the first page.")
    ] = None,
) -> PageAsked:
    # A cursor belongs to the list's address, with its community.
    secret: str = request.app.state.settings.session_secret
    return PageAsked(limit, cursor, hmac.digest(secret.encode(), b"cursor\0" + request.url.path.encode(), "sha256"))


Page = Annotated[PageAsked, Depends(_asked)]
