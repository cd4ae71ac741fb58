"""Moon and planet files: which nodes are roots and where they are found.

The layout of the files is that of zerotier-idtool genmoon (a moon file of the real tool can be read); the signature is
a filler of the right length and is never checked.
"""

from __future__ import annotations

import hashlib
import ipaddress
import json
import secrets
from dataclasses import dataclass
from typing import Any

from .identity import Identity, IdentityError

Endpoint = tuple[str, int]

_TYPE_CODES = {"planet": 0x01, "moon": 0x7F}
PLANET_ID = 0x08EAC90A


class WorldError(ValueError):
    """The file or the JSON is no moon and no planet."""


def parse_endpoint(text: str) -> Endpoint:
    """`10.0.0.1/9993` to a pair; WorldError when it isn't an IP address and a port."""
    host, slash, port = text.rpartition("/")
    try:
        number = int(port)
        if not slash or not 0 < number < 65536:
            raise ValueError
        return str(ipaddress.ip_address(host)), number
    except ValueError:
        raise WorldError(f"{text!r} is no endpoint in the form address/port") from None


def format_endpoint(endpoint: Endpoint) -> str:
    return f"{endpoint[0]}/{endpoint[1]}"


@dataclass(frozen=True, slots=True)
class Root:
    identity: Identity
    endpoints: tuple[Endpoint, ...]


@dataclass(frozen=True, slots=True)
class World:
    """A set of roots. ``kind`` is 'moon' or 'planet', ``timestamp`` in ms."""

    kind: str
    id: int
    timestamp: int
    signed_by: bytes
    signature: bytes
    roots: tuple[Root, ...]

    @property
    def id_text(self) -> str:
        return f"{self.id:016x}"

    def to_bytes(self) -> bytes:
        parts = [
            bytes([_TYPE_CODES[self.kind]]),
            self.id.to_bytes(8, "big"),
            self.timestamp.to_bytes(8, "big"),
            self.signed_by,
            self.signature,
            bytes([len(self.roots)]),
        ]
        for root in self.roots:
            parts += [bytes.fromhex(root.identity.address), b"\0", root.identity.public, b"\0"]
            parts.append(bytes([len(root.endpoints)]))
            for host, port in root.endpoints:
                address = ipaddress.ip_address(host)
                parts += [b"\x04" if address.version == 4 else b"\x06", address.packed, port.to_bytes(2, "big")]
        if self.kind == "moon":
            parts.append(b"\0\0")
        return b"".join(parts)

    def to_json(self) -> dict[str, Any]:
        """The object that GET /moon lists."""
        return {
            "id": self.id_text,
            "roots": [
                {
                    "identity": root.identity.public_text,
                    "stableEndpoints": [format_endpoint(endpoint) for endpoint in root.endpoints],
                }
                for root in self.roots
            ],
            "signature": self.signature.hex(),
            "timestamp": self.timestamp,
            "updatesMustBeSignedBy": self.signed_by.hex(),
            "waiting": False,
        }


class _Reader:
    def __init__(self, data: bytes) -> None:
        self._data = data
        self._position = 0

    def take(self, size: int) -> bytes:
        part = self._data[self._position : self._position + size]
        if len(part) != size:
            raise WorldError("the file ends too early")
        self._position += size
        return part

    def number(self, size: int) -> int:
        return int.from_bytes(self.take(size), "big")


def parse_world(data: bytes) -> World:
    """Read a .moon or planet file."""
    reader = _Reader(data)
    code = reader.number(1)
    kind = next((name for name, value in _TYPE_CODES.items() if value == code), None)
    if kind is None:
        raise WorldError("it begins neither like a moon nor like a planet")
    world_id, timestamp = reader.number(8), reader.number(8)
    signed_by, signature = reader.take(64), reader.take(96)
    roots = []
    for _ in range(reader.number(1)):
        address = reader.take(5).hex()
        if reader.number(1) != 0:
            raise WorldError("an identity is of an unknown type")
        public = reader.take(64)
        reader.take(reader.number(1))
        endpoints = []
        for _ in range(reader.number(1)):
            family = reader.number(1)
            if family not in (4, 6):
                raise WorldError("an endpoint is of an unknown type")
            host = ipaddress.ip_address(reader.take(4 if family == 4 else 16))
            endpoints.append((str(host), reader.number(2)))
        roots.append(Root(Identity(address, public), tuple(endpoints)))
    return World(kind, world_id, timestamp, signed_by, signature, tuple(roots))


def initial_moon(seed: Identity) -> dict[str, Any]:
    """What `zerotier-idtool initmoon` prints; it holds the signing secret."""
    secret = secrets.token_bytes(64)
    public = hashlib.sha512(secret).hexdigest()
    return {
        "id": seed.address,
        "objtype": "world",
        "roots": [{"identity": seed.public_text, "stableEndpoints": []}],
        "signingKey": public,
        "signingKey_SECRET": secret.hex(),
        "updatesMustBeSignedBy": public,
        "worldType": "moon",
    }


def _field(document: dict[str, Any], name: str, size: int) -> bytes:
    try:
        value = bytes.fromhex(document[name])
    except (KeyError, TypeError, ValueError):
        raise WorldError(f"{name} is missing or no hex") from None
    if len(value) != size:
        raise WorldError(f"{name} has not {size * 2} hex digits")
    return value


def world_from_json(text: str, now_ms: int) -> World:
    """Build the world that `zerotier-idtool genmoon` writes, from the edited output of `initmoon`."""
    try:
        document = json.loads(text)
        kind = str(document["worldType"])
        world_id = int(document["id"], 16)
        roots = tuple(
            Root(
                Identity.parse(root["identity"]),
                tuple(parse_endpoint(endpoint) for endpoint in root["stableEndpoints"]),
            )
            for root in document["roots"]
        )
    except IdentityError as error:
        raise WorldError(f"a root's identity is invalid: {error}") from None
    except WorldError:
        raise
    except (ValueError, KeyError, TypeError) as error:
        raise WorldError(f"not a moon's JSON: {error}") from None
    if kind not in _TYPE_CODES or not roots or not 0 <= world_id < 1 << 64:
        raise WorldError("worldType is neither moon nor planet, the id has over 16 digits or there are no roots")
    secret = _field(document, "signingKey_SECRET", 64)
    signed_by = _field(document, "updatesMustBeSignedBy", 64)
    unsigned = World(kind, world_id, now_ms, signed_by, bytes(96), roots)
    signature = hashlib.shake_256(secret + unsigned.to_bytes()).digest(96)
    return World(kind, world_id, now_ms, signed_by, signature, roots)
