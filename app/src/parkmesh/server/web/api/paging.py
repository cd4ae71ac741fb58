"""Pages of long lists: an opaque cursor names the last item of the page before."""

import base64
import binascii
import struct
from datetime import UTC, datetime, timedelta

from parkmesh.server.problems import Problem

PAGE = 50
MAX_PAGE = 200
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def encode_cursor(received_at: datetime, passage_id: int) -> str:
    """Return the opaque place of a passage in the list."""
    micros = (received_at - _EPOCH) // timedelta(microseconds=1)
    return base64.urlsafe_b64encode(struct.pack(">qq", micros, passage_id)).decode().rstrip("=")


def decode_cursor(text: str) -> tuple[datetime, int]:
    """Return the place that ``encode_cursor`` wrote; raise ``Problem`` 422 for any other text."""
    try:
        micros, passage_id = struct.unpack(">qq", base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)))
        return _EPOCH + timedelta(microseconds=micros), passage_id
    except (binascii.Error, struct.error, ValueError, OverflowError):
        raise Problem(422, "cursor: not one of ours", kind="invalid") from None
