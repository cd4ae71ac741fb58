"""Filters that say which members the overlay should have, and which member a text names."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import ansible.module_utils
from ansible.errors import AnsibleFilterError

# Modules get the project's module_utils in their archive; on the control node they are found beside this folder.
_MODULE_UTILS = str(Path(__file__).resolve().parent.parent / "module_utils")
if _MODULE_UTILS not in ansible.module_utils.__path__:
    ansible.module_utils.__path__.append(_MODULE_UTILS)

if TYPE_CHECKING:
    from module_utils import zerotier_model as model
else:
    from ansible.module_utils import zerotier_model as model

Given = Mapping[str, Any]
HOST_KEYS = ("name", "ip", "tags", "address")


def _plain(value: Any) -> Any:
    """The value as plain data: filters get lazy containers."""
    if isinstance(value, Mapping):
        return {str(key): _plain(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(entry) for entry in value]
    return str(value) if isinstance(value, str) else value


def _member(name: str, ip: str, tags: Given, definitions: Given) -> dict[str, Any]:
    """What every member of the overlay is. A tag of the overlay's that it isn't to have is taken away."""
    return {
        "name": name,
        "authorized": True,
        "active_bridge": False,
        "no_auto_assign_ips": True,
        "ip_assignments": [ip],
        "tags": {**dict.fromkeys(definitions), **tags},
    }


def slot_member(slot: Given, definitions: Given) -> dict[str, Any]:
    """The member that a slot of the pool is; ``slot`` as module overlay_slots returns it."""
    given = _plain(slot)
    member = _member(f"slot-{given['slot']}", given["ip"], {"role": "app"}, _plain(definitions))
    return {"address": given["address"], **member}


def host_member(overlay_member: Given, definitions: Given) -> dict[str, Any]:
    """The member that a host is, without its node address unless ``overlay_member`` names it."""
    given = _plain(overlay_member)
    unknown = sorted(set(given) - set(HOST_KEYS))
    if unknown or not {"name", "ip", "tags"} <= set(given):
        what = f"{', '.join(unknown)} means nothing in it" if unknown else "it needs name, ip and tags"
        raise AnsibleFilterError(f"overlay_host_member: overlay_member {given.get('name', '')}: {what}")
    member = _member(given["name"], given["ip"], given["tags"], _plain(definitions))
    return member if given.get("address") is None else {"address": str(given["address"]).lower(), **member}


def _index(
    members: list[dict[str, Any]], keys: Callable[[dict[str, Any]], list[str]]
) -> dict[str, list[dict[str, Any]]]:
    found: dict[str, list[dict[str, Any]]] = {}
    for member in members:
        for key in keys(member):
            found.setdefault(key, []).append(member)
    return found


def _matches(hosts: dict[str, Any], members: list[dict[str, Any]]) -> dict[str, str | None]:
    """The node address of each host, None for a host that is no member. Raises ValueError where it can't be told.

    A host is the node that the inventory names, else the member with the host's name, else the member with the host's
    overlay address. So a host is found even after a change of its name or of its address by hand.
    """
    found: dict[str, str | None] = {
        name: str(host["address"]).lower() if host.get("address") else None for name, host in hosts.items()
    }
    indexes = (
        ("name", _index(members, lambda member: [member["name"]])),
        ("ip", _index(members, lambda member: member["ip_assignments"])),
    )
    for setting, index in indexes:
        taken = {address for address in found.values() if address is not None}
        for name, host in hosts.items():
            if found[name] is not None:
                continue
            matching = [member for member in index.get(host[setting], []) if member["address"] not in taken]
            both = [member for member in matching if host["ip"] in member["ip_assignments"]]
            candidates = [member["address"] for member in (both if len(both) == 1 else matching)]
            if len(candidates) > 1:
                raise ValueError(
                    f"{name} could be any of the members {', '.join(sorted(candidates))}: name the right one in the "
                    "inventory (overlay_member.address)"
                )
            found[name] = candidates[0] if candidates else None
    names: dict[str, list[str]] = {}
    for name, address in found.items():
        if address is not None:
            names.setdefault(address, []).append(name)
    for address, shared in names.items():
        if len(shared) > 1:
            raise ValueError(f"{' and '.join(shared)} would both be the member {address}: see their overlay_member")
    return found


def match_hosts(hosts: Given, members: Iterable[Given], definitions: Given) -> dict[str, Any]:
    """Which members the hosts are: ``members`` (for zerotier_members) and ``absent``, the hosts that are none yet.

    ``hosts`` has each host's overlay_member, ``members`` is what zerotier_member_info returns.
    """
    given = _plain(hosts)
    wanted = {name: host_member(host, definitions) for name, host in given.items()}
    try:
        addresses = _matches(given, [_plain(member) for member in members])
    except ValueError as error:
        raise AnsibleFilterError(f"overlay_match_hosts: {error}") from error
    return {
        "members": [{**wanted[name], "address": address} for name, address in addresses.items() if address is not None],
        "absent": [name for name, address in addresses.items() if address is None],
    }


def _described(text: str, member: dict[str, Any] | None) -> dict[str, Any]:
    found = member or {}
    return {
        "asked": text,
        "member": member is not None,
        "authorized": bool(found.get("authorized")),
        "address": found.get("address"),
        "name": found.get("name") or text,
        "ip": next(iter(found.get("ip_assignments") or []), None),
        "tags": found.get("tags") or {},
        "capabilities": found.get("capabilities") or [],
    }


def _is_ip(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def find_member(asked: str, members: Iterable[Given], hosts: Given, definitions: Given) -> dict[str, Any]:
    """The member that a text means: a node address, an overlay IP, a member's name or a host of the inventory.

    A host that is no member yet has the tags that it would have. Raises for a name that no member or host has.
    """
    text, given, known = str(asked).strip(), _plain(hosts), [_plain(member) for member in members]
    try:
        if re.fullmatch("[0-9a-fA-F]{10}", text):
            return _described(text, next((m for m in known if m["address"] == text.lower()), None))
        if _is_ip(text):
            address = str(ipaddress.ip_address(text))
            named = [member for member in known if address in member["ip_assignments"]]
        else:
            named = [member for member in known if member["name"] == text]
            if not named and text in given:
                node = _matches(given, known)[text]
                named = [member for member in known if member["address"] == node]
        if len(named) > 1:
            addresses = ", ".join(sorted(member["address"] for member in named))
            raise ValueError(f"{text} means any of the members {addresses}: name one by its address")
        if named or _is_ip(text):
            return _described(text, named[0] if named else None)
        if text in given:
            host = host_member(given[text], {})
            return {
                **_described(text, None),
                "name": host["name"],
                "ip": host["ip_assignments"][0],
                "tags": model.resolve_tags(host["tags"], _plain(definitions)),
            }
        names = sorted({member["name"] for member in known if member["name"]} | set(given))
        raise ValueError(
            f"{text!r} is no member and no host of the overlay. Known are {', '.join(names) or 'none'}, and every node "
            "address or overlay IP"
        )
    except ValueError as error:
        raise AnsibleFilterError(f"overlay_find_member: {error}") from error


class FilterModule:
    """The filters by name."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """The filters by name."""
        return {
            "overlay_slot_member": slot_member,
            "overlay_host_member": host_member,
            "overlay_match_hosts": match_hosts,
            "overlay_find_member": find_member,
        }
