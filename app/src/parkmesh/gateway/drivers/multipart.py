"""The bodies that cameras post, cut into their parts however the boundary was written: pure, bytes in and bytes out."""

import re
from collections.abc import Iterator

from parkmesh.gateway.drivers.types import PoisonError

_BOUNDARY = re.compile(r'boundary="?([^";,\s]+)"?', re.IGNORECASE)
_LONGEST_BOUNDARY = 200


def parts(body: bytes, content_type: str) -> Iterator[tuple[bytes, bytes]]:
    """Yield the headers (in lower case) and the content of each part; raise PoisonError where the body has none.

    The content may still have the line end before the next boundary.
    """
    start = body.lstrip(b"\xef\xbb\xbf\x00 \t\r\n")
    match = _BOUNDARY.search(content_type)
    # A camera that forgets the parameter still writes the boundary as the first line.
    boundary = match[1].encode("latin-1", "replace") if match else start.split(b"\n", 1)[0].strip().removeprefix(b"--")
    if not boundary or len(boundary) > _LONGEST_BOUNDARY or b"--" + boundary not in body:
        raise PoisonError("the body isn't multipart with the boundary that its Content-Type names")
    for part in body.split(b"--" + boundary)[1:]:
        for blank in (b"\r\n\r\n", b"\n\n"):
            headers, found, content = part.partition(blank)
            if found:
                yield headers.lower(), content
                break
