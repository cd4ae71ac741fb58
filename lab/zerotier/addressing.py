"""Addresses and names that follow from node address and network ID alone: MAC, device name, computed IPv6."""

from __future__ import annotations

import base64
import ipaddress


def mac_prefix(network_id: int) -> int:
    """The first byte of every member's MAC address on a network."""
    first = (network_id & 0xFE) | 0x02
    return 0x32 if first == 0x52 else first


def _mask(network_id: int) -> bytes:
    low = network_id.to_bytes(8, "big")
    return bytes((low[6], low[5], low[4], low[3], low[2]))


def node_mac(address: str, network_id: int) -> bytes:
    """The 6 bytes of a member's MAC address on a network."""
    own = bytes.fromhex(address)
    return bytes([mac_prefix(network_id)]) + bytes(a ^ b for a, b in zip(own, _mask(network_id), strict=True))


def node_of_mac(mac: bytes, network_id: int) -> str | None:
    """The node address that a MAC address of the network belongs to; None for a foreign or group address."""
    if mac[0] != mac_prefix(network_id):
        return None
    return bytes(a ^ b for a, b in zip(mac[1:], _mask(network_id), strict=True)).hex()


def device_name(network_id: int) -> str:
    """The name of the network's TAP device: zt and eight letters."""
    folded = (network_id ^ (network_id >> 24)) & 0xFFFFFFFFFF
    return "zt" + base64.b32encode(folded.to_bytes(5, "big")).decode().lower()


def rfc4193_address(address: str, network_id: int) -> str:
    """The member's computed RFC 4193 address (of a /88)."""
    packed = b"\xfd" + network_id.to_bytes(8, "big") + b"\x99\x93" + bytes.fromhex(address)
    return str(ipaddress.IPv6Address(packed))


def sixplane_address(address: str, network_id: int) -> str:
    """The member's computed 6PLANE address (of a /40 that all members share)."""
    folded = (network_id >> 32) ^ (network_id & 0xFFFFFFFF)
    packed = b"\xfc" + folded.to_bytes(4, "big") + bytes.fromhex(address) + b"\0\0\0\0\0\x01"
    return str(ipaddress.IPv6Address(packed))
