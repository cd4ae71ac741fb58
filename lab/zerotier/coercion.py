"""How the controller reads loosely typed input: what it takes for a boolean, a number, a string or an address."""

from __future__ import annotations

import ipaddress
import re
import socket

IPAddress = ipaddress.IPv4Address | ipaddress.IPv6Address
_U64 = (1 << 64) - 1


def to_bool(value: object, default: bool) -> bool:
    """Numbers count by being non-zero, strings by their first letter, anything else gives the default."""
    if isinstance(value, bool):
        return value
    if isinstance(value, int | float):
        return value != 0
    if isinstance(value, str):
        return value[:1] in ("1", "t", "T")
    return default


def to_u64(value: object, default: int) -> int:
    """A number cut to 64 bits, or the leading digits of a string; anything else gives the default."""
    if isinstance(value, bool):
        return int(value)
    if isinstance(value, float):
        return int(value) & _U64 if abs(value) < 2**63 else 0
    if isinstance(value, int):
        return value & _U64
    if isinstance(value, str):
        digits = re.match(r"\s*[+-]?\d+", value)
        return min(int(digits.group()), _U64) & _U64 if digits else 0
    return default


def to_text(value: object, default: str) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "1" if value else "0"
    if isinstance(value, int | float):
        return str(to_u64(value, 0))
    return default


def to_address(text: str) -> IPAddress | None:
    """An address as the daemon reads it: bad digits give the zero address, a text without '.' and ':' gives None."""
    if ":" in text:
        try:
            return ipaddress.IPv6Address(socket.inet_pton(socket.AF_INET6, text))
        except (OSError, ValueError):
            return ipaddress.IPv6Address(0)
    if "." in text:
        try:
            return ipaddress.IPv4Address(socket.inet_pton(socket.AF_INET, text))
        except (OSError, ValueError):
            return ipaddress.IPv4Address(0)
    return None


def to_address_and_bits(text: str) -> tuple[IPAddress, int] | None:
    """`address/bits`; missing bits are 0, and bits that don't fit the family give None."""
    host, _, bits_text = text.partition("/")
    address = to_address(host)
    bits = to_u64(bits_text, 0)
    if address is None or bits > address.max_prefixlen:
        return None
    return address, bits
