"""What a mail says, before it is text or HTML."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

Payload = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Content:
    """A mail's text. ``link`` is an address with what it does. The paragraphs in ``after`` follow it.
    ``calendar`` is a file for the reader's calendar (RFC 5545)."""

    subject: str
    paragraphs: tuple[str, ...]
    link: tuple[str, str] | None = None
    after: tuple[str, ...] = ()
    calendar: bytes | None = None
