"""Releases that gateways take by themselves: a signed list of files, and the files, each named by its digest.

| call | body -> answer |
|---|---|
| ``GET /edge/v1/releases/N`` | the signature (64 bytes), then the manifest, compressed (zlib) |
| ``POST /edge/v1/release-parts`` | ``PartsWanted`` -> parts, framed; as many of the first ones as fit in an answer |
| ``POST /edge/v1/release-report`` | ``Report`` -> nothing (204) |

``HeartbeatAck.release`` names the number of the release that a gateway should take, 0 for none.

The manifest is the JSON of ``Manifest``; its very bytes are signed with Ed25519 (RFC 8032). A part is one file of the
release, named by the SHA-256 of its content and sent compressed (zlib), so that a gateway asks only for the files that
it doesn't have. The program that checks signature and digests as root is
``roles/parking_gateway/files/parkmesh-pull.py``; it can't import this.
"""

import hashlib
import struct
import zlib
from collections.abc import Iterable, Iterator
from typing import Annotated, Literal

import msgspec
from msgspec import Meta, Struct

FORMAT = 1
SIGNATURE_BYTES = 64
MAX_PARTS = 256
"""Parts that one request may ask for."""
MAX_MANIFEST = 4 * 1024 * 1024
MAX_PART = 16 * 1024 * 1024
"""Bytes of a manifest and of a part, uncompressed."""
MAX_RELEASE = 256 * 1024 * 1024
"""Bytes of all files of a release, uncompressed."""
_HEAD = struct.Struct(">32sI")

Digest = Annotated[str, Meta(pattern="^[0-9a-f]{64}$")]
Result = Literal["kept", "put back", "refused", "not taken"]


class File(Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """One file: its place in the release's folder, whether it can be run, the digest and the size of its content."""

    path: Annotated[str, Meta(min_length=1, max_length=300)]
    executable: bool
    sha256: Digest
    size: Annotated[int, Meta(ge=0, le=MAX_PART)]


class Manifest(Struct, frozen=True, forbid_unknown_fields=True):
    """``serial`` goes up with each publication: a gateway takes no lower one than it took before."""

    format: int
    serial: Annotated[int, Meta(ge=1, le=2**53)]
    release: Annotated[str, Meta(pattern="^[0-9a-f]{12}$")]
    python: Annotated[str, Meta(pattern=r"^3\.[0-9]{1,2}$")]
    arch: Annotated[str, Meta(pattern="^(x86_64|aarch64)$")]
    files: Annotated[list[File], Meta(min_length=1, max_length=20_000)]


class PartsWanted(Struct, frozen=True, forbid_unknown_fields=True):
    """The parts that a gateway lacks."""

    parts: Annotated[list[Digest], Meta(min_length=1, max_length=MAX_PARTS)]


class Report(Struct, frozen=True, forbid_unknown_fields=True):
    """How it went with a release. ``not taken``: nothing was tried, and the gateway tries again later."""

    serial: Annotated[int, Meta(ge=1, le=2**53)]
    result: Result
    reason: Annotated[str, Meta(max_length=1000)] = ""


class WrongPartError(ValueError):
    """What came isn't what its digest names."""


def unpack(compressed: bytes, limit: int) -> bytes:
    """Return the content; raise ``WrongPartError`` for what is damaged, or larger than ``limit`` bytes."""
    reader = zlib.decompressobj()
    try:
        content = reader.decompress(compressed, limit + 1)
    except zlib.error as error:
        raise WrongPartError(f"it can't be decompressed ({error})") from None
    if len(content) > limit:
        raise WrongPartError(f"it has more than {limit} bytes")
    if not reader.eof or reader.unused_data:
        raise WrongPartError("it isn't whole")
    return content


def checked(digest: str, compressed: bytes, limit: int = MAX_PART) -> bytes:
    """Return a part's content; raise ``WrongPartError`` where it isn't what ``digest`` names."""
    content = unpack(compressed, limit)
    if hashlib.sha256(content).hexdigest() != digest:
        raise WrongPartError("its SHA-256 is another")
    return content


def frames(parts: Iterable[tuple[bytes, bytes]]) -> bytes:
    """Return digests (32 bytes) and compressed contents, one after the other, as one answer."""
    return b"".join(_HEAD.pack(digest, len(content)) + content for digest, content in parts)


def read_frames(answer: bytes) -> Iterator[tuple[str, bytes]]:
    """Yield the digests and compressed contents of an answer; raise ``WrongPartError`` where one is cut off."""
    at = 0
    while at < len(answer):
        if len(answer) - at < _HEAD.size:
            raise WrongPartError("the answer is cut off")
        digest, length = _HEAD.unpack_from(answer, at)
        at += _HEAD.size
        if len(answer) - at < length:
            raise WrongPartError("the answer is cut off")
        yield digest.hex(), answer[at : at + length]
        at += length


def read_manifest(content: bytes) -> Manifest:
    """Return a manifest; raise ``ValueError`` that says what is wrong with it."""
    manifest = msgspec.json.decode(content, type=Manifest)
    if manifest.format != FORMAT:
        raise ValueError(f"the manifest has format {manifest.format}, expected {FORMAT}")
    if sum(file.size for file in manifest.files) > MAX_RELEASE:
        raise ValueError(f"the release has more than {MAX_RELEASE} bytes")
    seen = set()
    for file in manifest.files:
        parts = file.path.split("/")
        if parts[0] not in ("bin", "lib") or len(parts) < 2 or any(part in ("", ".", "..") for part in parts):
            raise ValueError(f"{file.path!r} is no file of a release")
        if file.path in seen:
            raise ValueError(f"{file.path!r} is named twice")
        seen.add(file.path)
    return manifest
