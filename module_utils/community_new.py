"""Which number and which overlay address a new community gets. Pure."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Mapping
from typing import Any, Final

# The first addresses of the overlay are those of slots, bastion and other members.
_FIRST: Final = 256


def place(members: Iterable[Mapping[str, Any]], overlay: str) -> dict[str, Any]:
    """``number`` and ``ip`` that no member has; ``members`` are the ``overlay_member`` of all hosts.

    Numbers go up: that of a community which has left isn't given again while a later one is there. Raises ValueError
    for a range that isn't one, or that has no address left.
    """
    known = list(members)
    numbers = [int(member.get("tags", {}).get("community", 0)) for member in known]
    network = ipaddress.ip_network(overlay)
    taken = {str(member["ip"]) for member in known}
    number = max(numbers, default=0) + 1
    first = _FIRST if network.num_addresses > 2 * _FIRST else network.num_addresses // 2
    for offset in range(first + 1, network.num_addresses - 1):
        address = str(network[offset])
        if address not in taken:
            return {"number": number, "ip": address}
    raise ValueError(f"{overlay} has no address left for a gateway")
