"""Addresses of an overlay: those that follow from ids alone, and stable plans for slots and communities.

Pure and standard library only. Impossible inputs raise AddressError, whose message names them.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable, Mapping

IPAddress = ipaddress.IPv4Address | ipaddress.IPv6Address
IPNetwork = ipaddress.IPv4Network | ipaddress.IPv6Network


class AddressError(ValueError):
    """A range, id or address that can't be used as asked."""


def _hexadecimal(value: object, digits: int, what: str) -> str:
    if not isinstance(value, str) or not re.fullmatch(rf"[0-9a-fA-F]{{{digits}}}", value):
        raise AddressError(f"{value!r} is no {what}: it has {digits} hexadecimal digits")
    return value.lower()


def _ipv6(digits: str) -> str:
    return str(ipaddress.IPv6Address(int(digits, 16)))


def rfc4193_address(network_id: str, node: str) -> str:
    """The member's address in the network's RFC 4193 range: fd, the network's id, 9993, the node's address."""
    network_digits = _hexadecimal(network_id, 16, "network id")
    return _ipv6(f"fd{network_digits}9993{_hexadecimal(node, 10, 'node address')}")


def sixplane_address(network_id: str, node: str) -> str:
    """The member's first 6PLANE address: fc, both halves of the network's id XORed, the node's address, 1."""
    number = int(_hexadecimal(network_id, 16, "network id"), 16)
    folded = (number >> 32) ^ (number & 0xFFFFFFFF)
    return _ipv6(f"fc{folded:08x}{_hexadecimal(node, 10, 'node address')}000000000001")


def parse_range(value: object) -> IPNetwork:
    """A range in CIDR notation, without host bits."""
    if not isinstance(value, str):
        raise AddressError(f"{value!r} is no range: CIDR notation is expected")
    try:
        return ipaddress.ip_network(value)
    except ValueError as error:
        raise AddressError(str(error)) from None


def _usable(network: IPNetwork, number: int) -> bool:
    """Whether the number-th address of the range can be a host's: an IPv4 range keeps its first and last one."""
    if not 0 <= number < network.num_addresses:
        return False
    return network.version == 6 or network.prefixlen >= 31 or 0 < number < network.num_addresses - 1


def address_at(network: IPNetwork, number: int) -> str:
    """The number-th address of a range, counted from its network address as 0."""
    if isinstance(number, bool) or not isinstance(number, int):
        raise AddressError(f"{number!r} is no position in a range: a whole number is expected")
    if not _usable(network, number):
        raise AddressError(f"{network} has no host address number {number}")
    return str(network[number])


def consecutive(network: IPNetwork, first: int, count: int) -> list[str]:
    """``count`` addresses of a range from position ``first`` on."""
    if isinstance(count, bool) or not isinstance(count, int) or count < 0:
        raise AddressError(f"{count!r} is no number of addresses")
    return [address_at(network, first + offset) for offset in range(count)]


def _kept(
    network: IPNetwork, names: Iterable[str], existing: Mapping[str, str], reserved: Mapping[str, str]
) -> dict[str, IPAddress]:
    kept: dict[str, IPAddress] = {}
    holders: dict[IPAddress, str] = {}
    for source in (existing, reserved):
        for name, text in source.items():
            try:
                address = ipaddress.ip_address(text)
            except ValueError:
                raise AddressError(f"the address of {name}, {text!r}, is none") from None
            if address not in network:
                raise AddressError(f"the address of {name}, {address}, is outside of {network}")
            holder = holders.setdefault(address, name)
            if holder != name:
                raise AddressError(f"{address} belongs to both {holder} and {name}")
            if source is existing:
                kept[name] = address
    return {name: kept[name] for name in names if name in kept}


def assign(
    network: IPNetwork,
    names: Iterable[str],
    *,
    existing: Mapping[str, str] | None = None,
    reserved: Mapping[str, str] | None = None,
    first: int = 1,
) -> dict[str, str]:
    """Give every name one address of a range, the same one each time.

    Names that have an ``existing`` address keep it; new names get, in their order, the lowest free addresses from
    position ``first`` on. Addresses of ``existing`` names that are no longer asked for stay taken, like those in
    ``reserved``: a name never gets an address that another name has.
    """
    wanted = list(names)
    if len(set(wanted)) != len(wanted):
        raise AddressError("a name is there twice")
    existing = existing or {}
    kept = _kept(network, wanted, existing, reserved or {})
    taken = {ipaddress.ip_address(text) for source in (existing, reserved or {}) for text in source.values()}
    plan = {name: str(address) for name, address in kept.items()}
    number = first
    for name in wanted:
        if name in plan:
            continue
        while _usable(network, number) and network[number] in taken:
            number += 1
        if not _usable(network, number):
            raise AddressError(f"{network} has no free address left for {name}")
        plan[name] = str(network[number])
        number += 1
    return {name: plan[name] for name in wanted}


def subrange(network: IPNetwork, prefix: int, number: int) -> str:
    """The number-th part of a range with this prefix length, such as one /24 for each community."""
    if not network.prefixlen <= prefix <= network.max_prefixlen:
        raise AddressError(f"{network} can't be cut into parts of /{prefix}")
    size = 1 << (network.max_prefixlen - prefix)
    if not 0 <= number < network.num_addresses // size:
        raise AddressError(f"{network} has no part number {number} of /{prefix}")
    return f"{network[number * size]}/{prefix}"
