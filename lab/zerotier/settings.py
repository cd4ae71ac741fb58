"""local.conf: the settings of one node that lab.zerotier honours."""

from __future__ import annotations

import ipaddress
import json
from dataclasses import dataclass, field
from pathlib import Path

from .coercion import IPAddress, to_bool, to_u64

IPNetwork = ipaddress.IPv4Network | ipaddress.IPv6Network


@dataclass(frozen=True, slots=True)
class Settings:
    """``primary_port`` 0 asks for a free one; ``written`` holds local.conf's own `settings` as they were."""

    primary_port: int = 9993
    allow_management_from: tuple[IPNetwork, ...] = ()
    bind: tuple[IPAddress, ...] = ()
    port_mapping_enabled: bool = True
    allow_secondary_port: bool = True
    written: dict[str, object] = field(default_factory=dict)

    def may_manage(self, host: str) -> bool:
        """Loopback always may; others only where allowManagementFrom names their network."""
        try:
            address = ipaddress.ip_address(host.partition("%")[0])
        except ValueError:
            return False
        if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
            address = address.ipv4_mapped
        return address.is_loopback or any(address in network for network in self.allow_management_from)


def _networks(value: object) -> tuple[IPNetwork, ...]:
    found = []
    for text in value if isinstance(value, list) else []:
        try:
            found.append(ipaddress.ip_network(str(text), strict=False))
        except ValueError:
            continue
    return tuple(found)


def _addresses(value: object) -> tuple[IPAddress, ...]:
    found = []
    for text in value if isinstance(value, list) else []:
        try:
            found.append(ipaddress.ip_address(str(text).partition("/")[0]))
        except ValueError:
            continue
    return tuple(found)


def read_settings(path: Path, port: int) -> Settings:
    """Read local.conf; ``port`` is that of the command line. Raises ValueError when the file is no JSON object."""
    try:
        document = json.loads(path.read_bytes())
    except FileNotFoundError:
        document = {}
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None
    settings = document.get("settings", {}) if isinstance(document, dict) else None
    if not isinstance(settings, dict):
        raise ValueError(f"{path}: not an object with an object 'settings'")
    return Settings(
        primary_port=to_u64(settings.get("primaryPort"), port) & 0xFFFF,
        allow_management_from=_networks(settings.get("allowManagementFrom")),
        bind=_addresses(settings.get("bind")),
        port_mapping_enabled=to_bool(settings.get("portMappingEnabled"), True),
        allow_secondary_port=to_bool(settings.get("allowSecondaryPort"), True),
        written=settings,
    )
