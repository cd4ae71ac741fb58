"""From the slot table to the map of forwards: plain data in, text out.

An item of the slot table has ``slot`` (a number), ``holder`` (the instance that holds it) and ``holder_place``, where
that is (``parkmesh.instance.slots``). A place that names another instance than the holder is an earlier holder's.
"""

from collections.abc import Iterable, Mapping
from ipaddress import AddressValueError, IPv4Address, IPv4Network
from typing import Any

FIRST_PORT = 20_000
"""Slot n uses UDP port ``FIRST_PORT`` + n, as ``parkmesh.instance.slots.primary_port`` says."""
MOST_SLOTS = 1_000
TABLE = "ip parkmesh_nat"
MAP = "forwards"

Forwards = dict[int, str]
"""UDP port → private address of the slot's holder."""


def wanted(items: Iterable[Mapping[str, Any]], inside: Iterable[IPv4Network]) -> Forwards:
    """Return what the items of the slot table (as DynamoDB writes them) ask for.

    Whoever may write a lease must not turn a port of the public address to anything but a host ``inside``.
    """
    networks = list(inside)
    found: Forwards = {}
    for item in items:
        place = item.get("holder_place", {}).get("M", {})
        holder = item.get("holder", {}).get("S")
        if holder is None or place.get("instance", {}).get("S") != holder:
            continue
        try:
            slot, address = int(item["slot"]["N"]), IPv4Address(place["private_ip"]["S"])
        except (KeyError, ValueError, AddressValueError):
            continue
        if 1 <= slot <= MOST_SLOTS and any(address in network for network in networks):
            found[FIRST_PORT + slot] = str(address)
    return dict(sorted(found.items()))


def ruleset(forwards: Forwards) -> str:
    """Return a file for ``nft -f`` that replaces the map's elements in one transaction."""
    lines = [f"flush map {TABLE} {MAP}"]
    if forwards:
        elements = ", ".join(f"{port} : {address}" for port, address in sorted(forwards.items()))
        lines.append(f"add element {TABLE} {MAP} {{ {elements} }}")
    return "\n".join(lines) + "\n"


def moved(before: Forwards, after: Forwards) -> list[tuple[int, str | None]]:
    """Return the ports that lead elsewhere now, each with the address that it led to before."""
    ports = sorted(before.keys() | after.keys())
    return [(port, before.get(port)) for port in ports if before.get(port) != after.get(port)]
