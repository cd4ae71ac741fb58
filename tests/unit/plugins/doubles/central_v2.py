"""A double of ZeroTier Central's API v2, in the paths, methods, fields and statuses of its OpenAPI document.

The document was seen through a client that is generated from it. It refuses what the document doesn't name, answers 403
for what doesn't exist, and its lists of networks are summaries.
"""

from __future__ import annotations

import re
from typing import Any, Protocol

Answer = tuple[int, Any]
_MEMBER_FIELDS = {"name", "description", "activeBridge", "noAutoAssignIps", "ipv4Assignments", "ipv6Assignments"}
_CONFIG_FIELDS = {
    "dns",
    "enableBroadcast",
    "mtu",
    "multicastLimit",
    "private",
    "routes",
    "v4AssignmentMode",
    "v4IpAssignmentPools",
    "v4Subnet",
    "v6AssignmentMode",
    "v6IpAssignmentPools",
    "v6Subnet",
}
_STATUS = {"authorize": "authorized", "de-authorize": "not_authorized", "reject": "rejected"}
_FORBIDDEN = (403, {"message": "forbidden"})


class Kept(Protocol):
    """What the double keeps: networks, members and rules by network id."""

    networks: dict[str, dict[str, Any]]
    members: dict[str, dict[str, dict[str, Any]]]
    rules: dict[str, dict[str, Any]]


def _bad(field: str) -> Answer:
    return 400, {"code": 400, "message": "validation failed", "details": [{"field": field, "message": "unknown"}]}


def _network(network_id: str, group: str) -> dict[str, Any]:
    return {
        "id": network_id,
        "name": "",
        "description": "",
        "kind": "v1",
        "networkGroupId": group,
        "creationTime": "2026-11-22T16:00:00Z",
        "lastModified": "2026-11-22T16:00:00Z",
        "config": {
            "dns": {"domain": "", "servers": []},
            "enableBroadcast": True,
            "mtu": 2800,
            "multicastLimit": 32,
            "private": True,
            "routes": [],
            "v4AssignmentMode": {"zt": False},
            "v4IpAssignmentPools": [],
            "v4Subnet": "",
            "v6AssignmentMode": {"6plane": False, "rfc4193": False, "zt": False},
            "v6IpAssignmentPools": [],
            "v6Subnet": "",
        },
    }


def _member(network_id: str, device: str) -> dict[str, Any]:
    return {
        "deviceId": device,
        "networkId": network_id,
        "name": "",
        "description": "",
        "status": "not_authorized",
        "activeBridge": False,
        "noAutoAssignIps": False,
        "ipv4Assignments": [],
        "ipv6Assignments": [],
        "ipAssignment6plane": "",
        "ipAssignmentRfc4193": "",
        "capabilities": [],
        "tags": [],
        "identity": "",
        "macAddress": "",
        "os": "",
        "arch": "",
        "agentVersion": "",
        "lastSeen": {},
        "lastSeenIp": "",
        "creationTime": "2026-11-22T16:00:00Z",
        "lastModified": "2026-11-22T16:00:00Z",
        "revision": 1,
    }


def _update_network(network: dict[str, Any], body: dict[str, Any]) -> Answer:
    unknown = set(body) - {"name", "description", "config"} | set(body.get("config", {})) - _CONFIG_FIELDS
    if unknown:
        return _bad(min(unknown))
    network["config"].update(body.get("config", {}))
    network.update({name: body[name] for name in ("name", "description") if name in body})
    return 200, network


def _members(kept: Kept, method: str, network_id: str, rest: str, body: Any) -> Answer:
    members = kept.members.get(network_id)
    if members is None:
        return _FORBIDDEN
    device, _, act = rest.strip("/").partition("/")
    if not device:
        if method == "GET":
            return 200, list(members.values())
        for entry in body:
            if unknown := set(entry) - {"deviceId"} - (_MEMBER_FIELDS if method == "POST" else set()):
                return _bad(min(unknown))
            if method == "POST":
                members.setdefault(entry["deviceId"], _member(network_id, entry["deviceId"])).update(entry)
            else:
                members.pop(entry["deviceId"], None)
        return 200, list(members.values()) if method == "POST" else {"message": "ok"}
    member = members.get(device)
    if member is None:
        return _FORBIDDEN
    if method == "POST" and act:
        member["status"] = _STATUS[act]
    elif method == "POST":
        if unknown := set(body) - _MEMBER_FIELDS:
            return _bad(min(unknown))
        member.update(body)
    return 200, member


def v2(kept: Kept, method: str, path: str, body: Any) -> Answer:
    """Answer one request; ``path`` begins with /v2 or /v2beta."""
    if (found := re.fullmatch(r"/v2beta/network/(\w{16})/flow-rule", path)) is not None and method in ("GET", "POST"):
        if found.group(1) not in kept.networks:
            return _FORBIDDEN
        if method == "POST":
            kept.rules[found.group(1)] = body
        return 200, kept.rules.setdefault(found.group(1), {"kind": "custom", "config": {"source": "accept;"}})
    if (found := re.fullmatch(r"/v2/network-group/([^/]+)/network", path)) is not None and method == "POST":
        network = _network(f"8056c2e21c{len(kept.networks) + 1:06x}", found.group(1))
        status, answer = _update_network(network, body)
        if status == 200:
            kept.networks[network["id"]], kept.members[network["id"]] = network, {}
        return status, answer
    if (found := re.fullmatch(r"/v2/network/(\w{16})/member((?:/[\w-]+)*)", path)) is not None:
        allowed = ("GET", "POST") if found.group(2) else ("GET", "POST", "DELETE")
        if method in allowed:
            return _members(kept, method, found.group(1), found.group(2), body)
    if (found := re.fullmatch(r"/v2/network/(\w{16})", path)) is not None and method in ("GET", "POST", "DELETE"):
        wanted = kept.networks.get(found.group(1))
        if wanted is None:
            return _FORBIDDEN
        if method == "DELETE":
            del kept.networks[found.group(1)]
            return 200, {"message": "ok"}
        return _update_network(wanted, body) if method == "POST" else (200, wanted)
    if path == "/v2/network" and method == "GET":
        shown = ("id", "name", "description", "kind", "networkGroupId")
        items = [{name: network[name] for name in shown} for network in kept.networks.values()]
        return 200, {"items": items}
    return 405, {"message": "no such operation"}
