"""Packets between the lab's nodes: one header, an authenticated body, a relay-safe hop count.

Layout: magic (1), hops (1), kind (1), destination (5), source (5), nonce (8), body, tag (16). The tag covers all but
the hops, which a relay counts up. Three kinds: HELLO is readable and carries the sender's identity; CONTROL is
encrypted JSON in numbered parts; FRAME is an Ethernet frame under a key that only authorised members hold.
"""

from __future__ import annotations

import hashlib
import json
import struct
import zlib
from dataclasses import dataclass
from hmac import compare_digest
from typing import Any

MAGIC = 0xD2
HELLO, CONTROL, FRAME = 1, 2, 3
HEADER = struct.Struct("!BBB5s5sQ")
TAG_SIZE = 16
OVERHEAD = HEADER.size + TAG_SIZE
PART_SIZE = 1200
PARTS_MAXIMUM = 4096
RELAY_HOPS_MAXIMUM = 3

_PART = struct.Struct("!QHH")


class PacketError(ValueError):
    """The bytes are no packet of a node of the lab, or not from the sender that they name."""


@dataclass(frozen=True, slots=True)
class Header:
    hops: int
    kind: int
    destination: str
    source: str
    nonce: int


def parse_header(packet: bytes) -> Header:
    """Read the header only; raises PacketError for foreign or truncated packets."""
    if len(packet) < OVERHEAD or packet[0] != MAGIC:
        raise PacketError("not a packet of this protocol")
    _, hops, kind, destination, source, nonce = HEADER.unpack_from(packet)
    return Header(hops, kind, destination.hex(), source.hex(), nonce)


def with_one_more_hop(packet: bytes) -> bytes:
    return packet[:1] + bytes([packet[1] + 1]) + packet[2:]


def _tag(key: bytes, packet: bytes) -> bytes:
    return hashlib.blake2b(packet, key=key, digest_size=TAG_SIZE).digest()


def seal(key: bytes, kind: int, destination: bytes, source: bytes, nonce: int, body: bytes) -> bytes:
    """A whole packet with hop count 0, authenticated with a key of up to 64 bytes."""
    packet = HEADER.pack(MAGIC, 0, kind, destination, source, nonce) + body
    return packet + _tag(key, packet)


def open_body(key: bytes, packet: bytes) -> bytes:
    """The body of a packet whose tag is right; raises PacketError otherwise."""
    content = bytes([MAGIC, 0]) + packet[2:-TAG_SIZE]
    if not compare_digest(_tag(key, content), packet[-TAG_SIZE:]):
        raise PacketError("the packet's tag is wrong")
    return content[HEADER.size :]


def _crypt(key: bytes, nonce: int, data: bytes) -> bytes:
    stream = hashlib.shake_256(key + nonce.to_bytes(8, "big")).digest(len(data))
    return (int.from_bytes(data, "big") ^ int.from_bytes(stream, "big")).to_bytes(len(data), "big")


def split_message(key: bytes, message: dict[str, Any], first_nonce: int) -> list[tuple[int, bytes]]:
    """The (nonce, body) of the CONTROL packets that carry a message; uses one nonce after the other."""
    data = zlib.compress(json.dumps(message, separators=(",", ":")).encode(), 1)
    total = max(1, -(-len(data) // PART_SIZE))
    parts = []
    for index in range(total):
        part = _PART.pack(first_nonce, index, total) + data[index * PART_SIZE : (index + 1) * PART_SIZE]
        nonce = first_nonce + index
        parts.append((nonce, _crypt(key, nonce, part)))
    return parts


class Assembler:
    """Puts the parts of one sender's messages together; forgets the oldest unfinished ones."""

    UNFINISHED_MAXIMUM = 4

    def __init__(self) -> None:
        self._parts: dict[int, dict[int, bytes]] = {}

    def add(self, key: bytes, nonce: int, body: bytes) -> dict[str, Any] | None:
        """The message that this part completes; None while parts are missing; PacketError for nonsense."""
        plain = _crypt(key, nonce, body)
        if len(plain) < _PART.size:
            raise PacketError("a part is too short")
        number, index, total = _PART.unpack_from(plain)
        if not 0 <= index < total <= PARTS_MAXIMUM:
            raise PacketError("a part has an impossible number")
        parts = self._parts.setdefault(number, {})
        parts[index] = plain[_PART.size :]
        if len(parts) < total:
            while len(self._parts) > self.UNFINISHED_MAXIMUM:
                del self._parts[next(iter(self._parts))]
            return None
        del self._parts[number]
        try:
            data = zlib.decompress(b"".join(parts[position] for position in range(total)))
            message = json.loads(data)
        except (KeyError, zlib.error, ValueError):
            raise PacketError("a message can't be read") from None
        if not isinstance(message, dict):
            raise PacketError("a message is no object")
        return message


def frame_key(pair_key: bytes, network_key: str) -> bytes:
    """The key of the frames between two members: needs what the pair shares and what the controller gave out."""
    return hashlib.blake2b(pair_key + bytes.fromhex(network_key), digest_size=32, person=b"frame key").digest()
