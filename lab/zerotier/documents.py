"""The controller's documents of networks and members: their first state and how a written body changes them.

Pure functions on plain JSON objects. Each takes what the controller holds and what a client sent, and returns what the
controller holds then; what the real one ignores, clamps or misreads is done the same way here.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

from module_utils.zerotier_rules import canonical_rules

from .coercion import to_address, to_address_and_bits, to_bool, to_text, to_u64
from .json_text import JsonError

Document = dict[str, Any]

MTU_DEFAULT, MTU_MINIMUM, MTU_MAXIMUM = 2800, 1280, 10000
MULTICAST_LIMIT_DEFAULT = 32
RULES_MAXIMUM = 1024
_V6_MODES = ("6plane", "rfc4193", "zt")


def new_network(network_id: str, now_ms: int) -> Document:
    return {
        "authTokens": [None],
        "authorizationEndpoint": "",
        "capabilities": [],
        "clientId": "",
        "creationTime": now_ms,
        "dns": [],
        "enableBroadcast": True,
        "id": network_id,
        "ipAssignmentPools": [],
        "mtu": MTU_DEFAULT,
        "multicastLimit": MULTICAST_LIMIT_DEFAULT,
        "name": "",
        "nwid": network_id,
        "objtype": "network",
        "private": True,
        "remoteTraceLevel": 0,
        "remoteTraceTarget": None,
        "routes": [],
        "rules": [{"not": False, "or": False, "type": "ACTION_ACCEPT"}],
        "rulesSource": "",
        "ssoEnabled": False,
        "tags": [],
        "v4AssignMode": {"zt": False},
        "v6AssignMode": {"6plane": False, "rfc4193": False, "zt": False},
    }


def new_member(network_id: str, address: str, now_ms: int) -> Document:
    return {
        "activeBridge": False,
        "address": address,
        "authenticationExpiryTime": 0,
        "authorized": False,
        "capabilities": [],
        "creationTime": now_ms,
        "id": address,
        "ipAssignments": [],
        "lastAuthorizedCredential": None,
        "lastAuthorizedCredentialType": None,
        "lastAuthorizedTime": 0,
        "lastDeauthorizedTime": 0,
        "noAutoAssignIps": False,
        "nwid": network_id,
        "objtype": "member",
        "remoteTraceLevel": 0,
        "remoteTraceTarget": None,
        "ssoExempt": False,
        "tags": [],
        "vMajor": -1,
        "vMinor": -1,
        "vProto": -1,
        "vRev": -1,
    }


def with_revision(old: Document | None, new: Document) -> Document:
    """Count the revision up when anything changed; a new document gets revision 1."""
    if old is not None and old == new:
        return old
    return {**new, "revision": (0 if old is None else int(old.get("revision", 0))) + 1}


def _apply_trace(document: Document, body: Document) -> None:
    if "remoteTraceTarget" in body:
        target = body["remoteTraceTarget"]
        if isinstance(target, str):
            document["remoteTraceTarget"] = target if len(target) == 10 else None
        else:
            document["remoteTraceTarget"] = None
            document["remoteTraceLevel"] = 0
    if "remoteTraceLevel" in body:
        document["remoteTraceLevel"] = to_u64(body["remoteTraceLevel"], 0)


def _read_routes(routes: list[Any]) -> list[Document]:
    kept = []
    for route in routes:
        if not isinstance(route, dict) or not isinstance(route.get("target"), str):
            continue
        target = to_address_and_bits(route["target"])
        if target is None:
            continue
        via = route.get("via")
        hop = to_address(via.partition("/")[0]) if isinstance(via, str) else None
        usable = hop is not None and hop.version == target[0].version
        kept.append({"target": f"{target[0]}/{target[1]}", "via": str(hop) if usable else None})
    return kept


def _read_pools(pools: list[Any]) -> list[Document]:
    kept = []
    for pool in pools:
        if not isinstance(pool, dict):
            continue
        start, end = (
            to_address(to_text(pool.get(name), "").partition("/")[0]) for name in ("ipRangeStart", "ipRangeEnd")
        )
        if start is not None and end is not None and start.version == end.version:
            kept.append({"ipRangeEnd": str(end), "ipRangeStart": str(start)})
    return kept


def _read_capabilities(capabilities: list[Any]) -> list[Document]:
    by_id: dict[int, Document] = {}
    for capability in capabilities:
        if isinstance(capability, dict):
            number = to_u64(capability.get("id"), 0)
            rules = capability.get("rules")
            by_id[number] = {
                "default": to_bool(capability.get("default"), False),
                "id": number,
                "rules": canonical_rules(rules)[:64] if isinstance(rules, list) else [],
            }
    return [by_id[number] for number in sorted(by_id)]


def _read_tags(tags: list[Any]) -> list[Document]:
    by_id: dict[int, Document] = {}
    for tag in tags:
        if isinstance(tag, dict):
            number = to_u64(tag.get("id"), 0)
            default = tag.get("default")
            by_id[number] = {"default": None if default is None else to_u64(default, 0), "id": number}
    return [by_id[number] for number in sorted(by_id)]


def _read_v4_mode(mode: object) -> Document:
    if isinstance(mode, str):
        return {"zt": mode == "zt"}
    return {"zt": to_bool(mode.get("zt"), False) if isinstance(mode, dict) else False}


def _read_v6_mode(mode: object) -> Document:
    if isinstance(mode, dict):
        return {name: to_bool(mode[name], False) for name in _V6_MODES if name in mode}
    names = mode.split(",") if isinstance(mode, str) else []
    return {name: name in names for name in _V6_MODES}


def _read_dns(dns: Document) -> Document:
    kept: Document = {"domain": dns.get("domain")}
    if isinstance(dns.get("servers"), list):
        kept["servers"] = dns["servers"]
    return kept


def _read_auth_tokens(tokens: object) -> list[None] | Document | None:
    if not isinstance(tokens, dict):
        return [None]
    kept = {name: v for name, v in tokens.items() if isinstance(v, int | float) and not isinstance(v, bool)}
    return kept or None


def _read_rules(rules: list[Any]) -> list[Document]:
    return canonical_rules(rules)[:RULES_MAXIMUM]


_LISTS_OF_NETWORK: dict[str, Callable[[list[Any]], list[Document]]] = {
    "routes": _read_routes,
    "ipAssignmentPools": _read_pools,
    "capabilities": _read_capabilities,
    "tags": _read_tags,
    "rules": _read_rules,
}


def update_network(old: Document, body: object) -> Document:
    """The network after a POST; a body that is no object changes nothing."""
    new = copy.deepcopy(old)
    if not isinstance(body, dict):
        return new
    if "name" in body:
        new["name"] = to_text(body["name"], "")
    for name in ("private", "enableBroadcast"):
        if name in body:
            new[name] = to_bool(body[name], name == "private")
    if "mtu" in body:
        new["mtu"] = max(MTU_MINIMUM, min(MTU_MAXIMUM, to_u64(body["mtu"], MTU_DEFAULT)))
    if "multicastLimit" in body:
        new["multicastLimit"] = to_u64(body["multicastLimit"], MULTICAST_LIMIT_DEFAULT)
    if "v4AssignMode" in body:
        new["v4AssignMode"] = _read_v4_mode(body["v4AssignMode"])
    if "v6AssignMode" in body:
        new["v6AssignMode"] = _read_v6_mode(body["v6AssignMode"])
    if isinstance(body.get("dns"), dict):
        new["dns"] = _read_dns(body["dns"])
    if "authTokens" in body:
        new["authTokens"] = _read_auth_tokens(body["authTokens"])
    for name, read in _LISTS_OF_NETWORK.items():
        if isinstance(body.get(name), list):
            new[name] = read(body[name])
    _apply_trace(new, body)
    return new


_TYPE_NAMES = {bool: "boolean", dict: "object", list: "array", int: "number", float: "number", type(None): "null"}


def _read_assignments(addresses: list[Any]) -> list[str]:
    kept = []
    for text in addresses:
        if not isinstance(text, str):
            name = _TYPE_NAMES[type(text)]
            raise JsonError(f"[json.exception.type_error.302] type must be string, but is {name}")
        address = to_address(text.partition("/")[0])
        if address is not None:
            kept.append(str(address))
    return kept


def _read_member_tags(tags: list[Any]) -> list[list[int]]:
    pairs = {
        to_u64(tag[0], 0) & 0xFFFFFFFF: to_u64(tag[1], 0) & 0xFFFFFFFF
        for tag in tags
        if isinstance(tag, list) and len(tag) == 2
    }
    return [[number, pairs[number]] for number in sorted(pairs)]


def update_member(old: Document, body: object, now_ms: int) -> Document:
    """The member after a POST; raises JsonError for what the controller answers with 500."""
    new = copy.deepcopy(old)
    if not isinstance(body, dict):
        return new
    for name in ("activeBridge", "noAutoAssignIps"):
        if name in body:
            new[name] = to_bool(body[name], False)
    if "authenticationExpiryTime" in body:
        new["authenticationExpiryTime"] = to_u64(body["authenticationExpiryTime"], 0)
    if "name" in body:
        new["name"] = to_text(body["name"], "")
    _apply_trace(new, body)
    if "authorized" in body:
        authorized = to_bool(body["authorized"], False)
        if authorized and not new["authorized"]:
            new |= {
                "lastAuthorizedTime": now_ms,
                "lastAuthorizedCredentialType": "api",
                "lastAuthorizedCredential": None,
            }
        elif new["authorized"] and not authorized:
            new["lastDeauthorizedTime"] = now_ms
        new["authorized"] = authorized
    if isinstance(body.get("ipAssignments"), list):
        new["ipAssignments"] = _read_assignments(body["ipAssignments"])
    if isinstance(body.get("tags"), list):
        new["tags"] = _read_member_tags(body["tags"])
    if isinstance(body.get("capabilities"), list):
        new["capabilities"] = sorted({to_u64(number, 0) for number in body["capabilities"]})
    return new
