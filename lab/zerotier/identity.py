"""Node identities in the format of zerotier-idtool: `<address>:0:<128 hex public>[:<128 hex secret>]`.

The first half of the public key is a real X25519 key, so two nodes agree on a secret key. The second half only fills
the format (lab.zerotier signs nothing), and the address is a plain hash of the public key instead of ZeroTier's
memory-hard one: identities of the lab's and of the real daemon are not interchangeable.
"""

from __future__ import annotations

import hashlib
import secrets
from dataclasses import dataclass

_PRIME = 2**255 - 19
_A24 = 121665
_BASE_POINT = 9


class IdentityError(ValueError):
    """The text is no identity, or its address doesn't belong to its public key."""


def x25519(scalar: bytes, point: int) -> bytes:
    """Multiply a Curve25519 point (u coordinate) by a clamped 32 byte scalar (RFC 7748)."""
    k = int.from_bytes(scalar, "little") & ~7 & ~(128 << 248) | (64 << 248)
    x1 = point & ((1 << 255) - 1)
    x2, z2, x3, z3, swap = 1, 0, x1, 1, 0
    for t in range(254, -1, -1):
        bit = (k >> t) & 1
        if swap ^ bit:
            x2, x3, z2, z3 = x3, x2, z3, z2
        swap = bit
        a, b, c, d = x2 + z2, x2 - z2, x3 + z3, x3 - z3
        aa, bb = a * a % _PRIME, b * b % _PRIME
        e = aa - bb
        da, cb = d * a % _PRIME, c * b % _PRIME
        x3, z3 = (da + cb) ** 2 % _PRIME, x1 * (da - cb) ** 2 % _PRIME
        x2, z2 = aa * bb % _PRIME, e * (aa + _A24 * e) % _PRIME
    if swap:
        x2, z2 = x3, z3
    return (x2 * pow(z2, _PRIME - 2, _PRIME) % _PRIME).to_bytes(32, "little")


def derive_address(public: bytes) -> str:
    """The ten hex digits that belong to a 64 byte public key."""
    return hashlib.sha512(public).digest()[59:].hex()


def is_usable_address(address: str) -> bool:
    """ZeroTier reserves addresses that begin with ff, and zero."""
    return not address.startswith("ff") and address != "0000000000"


@dataclass(frozen=True, slots=True)
class Identity:
    """One node's address and keys; ``secret`` is None where only the public part is known."""

    address: str
    public: bytes
    secret: bytes | None = None

    @classmethod
    def generate(cls) -> Identity:
        while True:
            secret = secrets.token_bytes(64)
            public = x25519(secret[:32], _BASE_POINT) + hashlib.sha256(b"filler" + secret[32:]).digest()
            address = derive_address(public)
            if is_usable_address(address):
                return cls(address, public, secret)

    @classmethod
    def from_public(cls, public: bytes) -> Identity:
        """The identity of a 64 byte public key."""
        if len(public) != 64:
            raise IdentityError("a public key has 64 bytes")
        return cls(derive_address(public), public)

    @classmethod
    def parse(cls, text: str) -> Identity:
        """Read the text form without asking whether address and keys belong together (see `check`)."""
        fields = text.strip().split(":")
        if len(fields) not in (3, 4) or fields[1] != "0" or len(fields[0]) != 10 or len(fields[2]) != 128:
            raise IdentityError("not in the form <10 hex>:0:<128 hex>[:<128 hex>]")
        if len(fields) == 4 and len(fields[3]) not in (0, 128):
            raise IdentityError("the secret part has not 128 hex digits")
        try:
            int(fields[0], 16)
            secret = bytes.fromhex(fields[3]) if len(fields) == 4 and fields[3] else None
            return cls(fields[0].lower(), bytes.fromhex(fields[2]), secret)
        except ValueError:
            raise IdentityError("contains characters that are no hex digits") from None

    def check(self) -> None:
        """Raise IdentityError when the address, the public and the secret part don't belong together."""
        if derive_address(self.public) != self.address or not is_usable_address(self.address):
            raise IdentityError("the address doesn't belong to the public key")
        if self.secret is not None and x25519(self.secret[:32], _BASE_POINT) != self.public[:32]:
            raise IdentityError("the secret key doesn't belong to the public key")

    @property
    def public_text(self) -> str:
        return f"{self.address}:0:{self.public.hex()}"

    @property
    def secret_text(self) -> str:
        if self.secret is None:
            raise IdentityError("the secret part of this identity isn't known")
        return f"{self.public_text}:{self.secret.hex()}"

    def agree(self, other: Identity) -> bytes:
        """The 32 byte key that only this node and the other one can compute."""
        if self.secret is None:
            raise IdentityError("the secret part of this identity isn't known")
        shared = x25519(self.secret[:32], int.from_bytes(other.public[:32], "little"))
        return hashlib.blake2b(shared, digest_size=32, person=b"pair key").digest()
