"""Filters that plan an overlay's addresses and compute those that follow from ids."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import ansible.module_utils
from ansible.errors import AnsibleFilterError

# Modules get the project's module_utils in their archive; on the control node they are found beside this folder.
_MODULE_UTILS = str(Path(__file__).resolve().parent.parent / "module_utils")
if _MODULE_UTILS not in ansible.module_utils.__path__:
    ansible.module_utils.__path__.append(_MODULE_UTILS)

if TYPE_CHECKING:
    from module_utils import zerotier_addresses as addresses
else:
    from ansible.module_utils import zerotier_addresses as addresses

_Result = TypeVar("_Result")


def rfc4193(node: str, network_id: str) -> str:
    """The RFC 4193 address of a node in a network."""
    return _named("zerotier_rfc4193", lambda: addresses.rfc4193_address(network_id, node))


def sixplane(node: str, network_id: str) -> str:
    """The 6PLANE address of a node in a network."""
    return _named("zerotier_6plane", lambda: addresses.sixplane_address(network_id, node))


def address_at(overlay: str, number: int) -> str:
    """The number-th address of a range."""
    return _named("zerotier_address", lambda: addresses.address_at(addresses.parse_range(overlay), number))


def slot_addresses(overlay: str, count: int, first: int = 11) -> list[str]:
    """The addresses of slots 1 to ``count``, from position ``first`` of the range on."""
    return _named(
        "zerotier_slot_addresses", lambda: addresses.consecutive(addresses.parse_range(overlay), first, count)
    )


def community_range(overlay: str, number: int, prefix: int = 24) -> str:
    """The part of a range that belongs to a community by its number."""
    return _named(
        "zerotier_community_range", lambda: addresses.subrange(addresses.parse_range(overlay), prefix, number)
    )


def assign_addresses(
    names: Iterable[str],
    overlay: str,
    existing: Mapping[str, str] | None = None,
    reserved: Mapping[str, str] | None = None,
    first: int = 1,
) -> dict[str, str]:
    """One address for each name, stable over calls; see zerotier_addresses.assign."""
    return _named(
        "zerotier_assign_addresses",
        lambda: addresses.assign(
            addresses.parse_range(overlay),
            [str(name) for name in names],
            existing={str(name): str(address) for name, address in (existing or {}).items()},
            reserved={str(name): str(address) for name, address in (reserved or {}).items()},
            first=first,
        ),
    )


def _named(name: str, compute: Callable[[], _Result]) -> _Result:
    try:
        return compute()
    except (TypeError, ValueError) as error:
        raise AnsibleFilterError(f"{name}: {error}") from error


class FilterModule:
    """The filters by name."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """The filters by name."""
        return {
            "zerotier_rfc4193": rfc4193,
            "zerotier_6plane": sixplane,
            "zerotier_address": address_at,
            "zerotier_slot_addresses": slot_addresses,
            "zerotier_community_range": community_range,
            "zerotier_assign_addresses": assign_addresses,
        }
