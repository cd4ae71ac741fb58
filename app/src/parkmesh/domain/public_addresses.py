"""Which addresses a server may connect to when somebody outside names the target (against SSRF)."""

from collections.abc import Collection
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

_NAT64 = ip_network("64:ff9b::/96")


def _meant(address: Address) -> list[Address]:
    """Return the address and the IPv4 addresses that a translator or a tunnel makes of it."""
    if isinstance(address, IPv4Address):
        return [address]
    embedded = [address.ipv4_mapped, address.sixtofour, *(address.teredo or ())]
    if address in _NAT64:
        embedded.append(IPv4Address(int(address) & 0xFFFFFFFF))
    return [address, *(inner for inner in embedded if inner is not None)]


def public(text: str, allowed: Collection[Network] = ()) -> bool:
    """Tell whether an address is one of the public internet, or in a network that is ``allowed``.

    Private, shared (100.64.0.0/10), loopback, link-local and multicast addresses are not, nor IPv6 addresses that
    stand for such IPv4 addresses. Raises ``ValueError`` for text that is no address.
    """
    address = ip_address(text.partition("%")[0])
    if any(address in network for network in allowed):
        return True
    mapped = isinstance(address, IPv6Address) and address.ipv4_mapped is not None
    return all(_global(inner) for inner in _meant(address) if not (mapped and inner is address))


def _global(address: Address) -> bool:
    if isinstance(address, IPv6Address) and address.is_site_local:
        return False
    return address.is_global and not address.is_multicast
