"""Webhooks by Standard Webhooks 1.0.0 (standard-webhooks/spec): secrets, signatures, bodies, answers. No I/O.

A request is signed over ``{id}.{timestamp}.{body}`` with HMAC-SHA256; the header ``webhook-signature`` has one
``v1,<base64>`` for each valid secret, separated by spaces.
"""

import base64
import hmac
import json
import re
from collections.abc import Collection, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from enum import StrEnum
from typing import Any
from urllib.parse import urlsplit

from parkmesh.domain import retries
from parkmesh.domain.public_addresses import Network, public

PREFIX = "whsec_"
"""Begins every secret as people see it."""
SECRET_BYTES = 32
MAX_BODY = 20_000
MAX_URL = 500
STOPPED_AFTER = timedelta(hours=75)
"""An endpoint that has taken nothing for so long gets nothing more."""
LONGEST_WAIT = timedelta(hours=24)
GONE = 410
_BUSY = frozenset({429, 502, 503, 504})
"""Answers whose Retry-After counts."""


class Answer(StrEnum):
    """What an answer to a delivery means."""

    TAKEN = "taken"
    FAILED = "failed"
    GONE = "gone"


class UnusableAddressError(ValueError):
    """No webhook can be sent to this address; the message says why."""


def shown(secret: bytes) -> str:
    """Return a secret as receivers enter it: ``whsec_`` and base64."""
    return PREFIX + base64.b64encode(secret).decode()


def secret_of(text: str) -> bytes:
    """Return the secret that ``shown`` gave; raise ``ValueError`` for another text."""
    if not text.startswith(PREFIX):
        raise ValueError(f"a secret begins with {PREFIX}")
    return base64.b64decode(text.removeprefix(PREFIX), validate=True)


def headers(message_id: str, at: datetime, body: bytes, secrets: Sequence[bytes]) -> dict[str, str]:
    """Return the headers of one attempt at ``at``; ``secrets`` are the valid ones, the newest first."""
    seconds = str(int(at.timestamp()))
    signed = f"{message_id}.{seconds}.".encode() + body
    signatures = [base64.b64encode(hmac.digest(secret, signed, "sha256")).decode() for secret in secrets]
    return {
        "webhook-id": message_id,
        "webhook-timestamp": seconds,
        "webhook-signature": " ".join(f"v1,{signature}" for signature in signatures),
    }


def body(
    type_: str, at: datetime, community: str | None, what: str, data: Mapping[str, Any], plate: str | None
) -> bytes:
    """Return the body for an event: ``community`` is the name of its community (None: it is of none), ``what`` its
    object (``booking/48``, which becomes ``"booking": 48``; "" for none), ``plate`` only where the endpoint includes
    plates.

    Raises ``ValueError`` where it is larger than ``MAX_BODY``.
    """
    members: dict[str, Any] = {} if community is None else {"community": community}
    kind, _, name = what.partition("/")
    if kind:
        members[kind.replace("-", "_")] = int(name) if name.isascii() and name.isdigit() else name
    members |= data
    if plate is not None:
        members["plate"] = plate
    moment = at.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    written = json.dumps(
        {"type": type_, "timestamp": moment, "data": members}, ensure_ascii=False, separators=(",", ":")
    ).encode()
    if len(written) > MAX_BODY:
        raise ValueError(f"the body has {len(written)} bytes, more than {MAX_BODY}")
    return written


def meaning(status: int) -> Answer:
    """Return what the status of an answer means. Redirections are failures: they aren't followed."""
    if 200 <= status < 300:
        return Answer.TAKEN
    return Answer.GONE if status == GONE else Answer.FAILED


def asked_wait(status: int, retry_after: str | None, now: datetime) -> timedelta | None:
    """Return the wait that a busy receiver asks for, at most ``LONGEST_WAIT``; None where it asks for none.

    ``retry_after`` is the header: seconds, or a date (RFC 9110, 10.2.3).
    """
    if status not in _BUSY or not retry_after:
        return None
    if re.fullmatch(r"[0-9]{1,9}", retry_after.strip()):
        wait = timedelta(seconds=int(retry_after))
    else:
        try:
            until = parsedate_to_datetime(retry_after)
            wait = (until if until.tzinfo else until.replace(tzinfo=UTC)) - now
        except (ValueError, TypeError, OverflowError):
            return None
    return min(max(wait, timedelta()), LONGEST_WAIT)


def next_wait(attempts: int, asked: timedelta | None, jitter: float) -> timedelta | None:
    """Return the wait after ``attempts`` failed ones, None where it is given up.

    ``jitter`` from 0 to 1 makes it up to a tenth longer: receivers that come back aren't met by everybody at once.
    """
    wait = retries.wait_after(attempts)
    if wait is None:
        return None
    return max(wait * (1 + jitter / 10), asked or timedelta())


def check_address(url: str, ports: Collection[int], allowed: Collection[Network] = ()) -> None:
    """Let an address through that webhooks may be sent to: https, one of ``ports``, without user and fragment.

    Raises ``UnusableAddressError``. What its name resolves to is checked when it is connected to.
    """
    if len(url) > MAX_URL or not url.isascii() or not url.isprintable() or " " in url or "\\" in url:
        raise UnusableAddressError(f"up to {MAX_URL} ASCII characters without spaces")
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port or 443
    except ValueError:
        raise UnusableAddressError("not an address") from None
    if parts.scheme != "https" or not host:
        raise UnusableAddressError("not an https:// address")
    if parts.username is not None or parts.password is not None or "#" in url:
        raise UnusableAddressError("without user, password and fragment")
    if port not in ports:
        raise UnusableAddressError(f"the port must be {' or '.join(str(number) for number in sorted(ports))}")
    try:
        reachable = public(host, allowed)
    except ValueError:
        # A name. One without a point, or of digits only, is none of the public internet.
        reachable = re.fullmatch(r"([a-z0-9_-]+\.)+[a-z][a-z0-9-]*", host) is not None or bool(allowed)
    if not reachable:
        raise UnusableAddressError("not a public address")
