"""Address plan of a lab: which private ranges its networks use, free of what the host already routes. Pure."""

import hashlib
from collections.abc import Iterable
from ipaddress import IPv4Address, IPv4Network

from lab.machine.errors import LabError

# One /16 is the VPC, a second one holds the small networks. The range leaves out podman's own pool (10.88-10.91 is in
# `taken` where podman uses it) and ends below 10.242.0.0/16, which is the overlay's.
FIRST = 64
COUNT = 128
OVERLAY = IPv4Network("10.242.0.0/16")
PODMAN_DEFAULT = IPv4Network("10.88.0.0/16")
SMALL = ("core", "site-a", "site-b")


def choose(lab: str, taken: Iterable[IPv4Network]) -> dict[str, IPv4Network]:
    """Networks `vpc` (/16) and `core`, `site-a`, `site-b` (/24), starting at a place that the lab's id gives.

    Args:
        lab: the lab id; the same id on the same machine gets the same answer.
        taken: networks that are routed or configured here by others.

    Raises:
        LabError: every candidate overlaps something.
    """
    avoid = [*taken, OVERLAY, PODMAN_DEFAULT]
    start = int.from_bytes(hashlib.sha256(lab.encode()).digest()[:4], "big")
    candidates = (IPv4Network(f"10.{FIRST + (start + step) % COUNT}.0.0/16") for step in range(COUNT))
    free = [network for network in candidates if not any(network.overlaps(other) for other in avoid)]
    if len(free) < 2:
        raise LabError(
            f"no two free networks between 10.{FIRST}.0.0/16 and 10.{FIRST + COUNT - 1}.0.0/16: "
            "the host routes or other podman networks cover them all"
        )
    vpc, small = free[:2]
    return {"vpc": vpc, **dict(zip(SMALL, small.subnets(new_prefix=24), strict=False))}


def gateway(network: IPv4Network) -> IPv4Address:
    """The bridge's own address: the host, seen from the network."""
    return network[1]


def last_free(network: IPv4Network, used: Iterable[IPv4Address]) -> IPv4Address:
    """The highest unused host address: EC2 hands out addresses from below, so managed services take them from above.

    Raises:
        LabError: the subnet is full.
    """
    occupied = set(used)
    for offset in range(2, network.num_addresses - 4):
        address = network[-offset]
        if address not in occupied:
            return address
    raise LabError(f"no free address in subnet {network}")
