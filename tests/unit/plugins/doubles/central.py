"""A double of ZeroTier Central's APIs v1 and v2.

v1 is built from the official OpenAPI document of Central v1: every path, status and field that it answers is in that
document. v2 is in central_v2.
"""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from .central_v2 import v2

TOKEN = "central-token"
Answer = tuple[int, Any]
_MEMBER_FIELDS = ("activeBridge", "authorized", "capabilities", "ipAssignments", "noAutoAssignIps", "tags")


@dataclass
class Central:
    """What the double keeps, by network id and then by node address, and what it was asked."""

    url: str = ""
    networks: dict[str, dict[str, Any]] = field(default_factory=dict)
    members: dict[str, dict[str, dict[str, Any]]] = field(default_factory=dict)
    rules: dict[str, dict[str, Any]] = field(default_factory=dict)
    requests: list[tuple[str, str, Any]] = field(default_factory=list)

    def writes(self) -> list[tuple[str, str, Any]]:
        """The requests that weren't reads."""
        return [request for request in self.requests if request[0] != "GET"]


def _v1_network(network_id: str) -> dict[str, Any]:
    return {
        "id": network_id,
        "clock": 1,
        "config": {
            "id": network_id,
            "creationTime": 1,
            "capabilities": [],
            "dns": {"domain": "", "servers": None},
            "enableBroadcast": True,
            "ipAssignmentPools": [],
            "lastModified": 1,
            "mtu": 2800,
            "multicastLimit": 32,
            "name": "",
            "private": True,
            "routes": [],
            "rules": [],
            "tags": [],
            "v4AssignMode": {"zt": False},
            "v6AssignMode": {"6plane": False, "rfc4193": False, "zt": False},
        },
        "description": "",
        "rulesSource": "",
        "permissions": None,
        "ownerId": None,
        "onlineMemberCount": 0,
        "authorizedMemberCount": 0,
        "totalMemberCount": 0,
        "capabilitiesByName": {},
        "tagsByName": {},
    }


def _v1_member(network_id: str, node: str) -> dict[str, Any]:
    return {
        "id": f"{network_id}-{node}",
        "clock": 1,
        "networkId": network_id,
        "nodeId": node,
        "hidden": False,
        "name": "",
        "description": "",
        "config": {
            "activeBridge": False,
            "authorized": False,
            "capabilities": [],
            "creationTime": 1,
            "id": node,
            "identity": "",
            "ipAssignments": [],
            "lastAuthorizedTime": 0,
            "lastDeauthorizedTime": 0,
            "noAutoAssignIps": False,
            "revision": 0,
            "ssoExempt": False,
            "tags": [],
            "vMajor": -1,
            "vMinor": -1,
            "vRev": -1,
            "vProto": -1,
        },
        "lastOnline": 0,
        "lastSeen": 0,
        "physicalAddress": None,
        "clientVersion": "",
        "protocolVersion": 0,
        "supportsRulesEngine": True,
    }


def v1(central: Central, method: str, path: str, body: Any) -> Answer:
    """Answer one request to v1."""
    if (found := re.fullmatch(r"/network/(\w{16})/member/(\w{10})", path)) is not None:
        network_id, node = found.groups()
        members = central.members.get(network_id)
        if members is None or (method != "POST" and node not in members):
            return 404, None
        if method == "DELETE":
            del members[node]
            return 200, None
        if method == "POST":
            member = members.setdefault(node, _v1_member(network_id, node))
            member.update({name: body[name] for name in ("name", "description", "hidden") if name in body})
            config = body.get("config", {})
            member["config"].update({name: config[name] for name in _MEMBER_FIELDS if name in config})
        return 200, members[node]
    if (found := re.fullmatch(r"/network/(\w{16})/member", path)) is not None:
        members = central.members.get(found.group(1))
        return (404, None) if members is None else (200, list(members.values()))
    if (found := re.fullmatch(r"/network/(\w{16})", path)) is not None:
        network = central.networks.get(found.group(1))
        if network is None:
            return 404, None
        if method == "DELETE":
            del central.networks[found.group(1)], central.members[found.group(1)]
            return 200, None
        if method == "POST":
            _update_v1(network, body)
        return 200, network
    if path == "/network":
        if method == "POST":
            network = _v1_network(f"8056c2e21c{len(central.networks) + 1:06x}")
            central.networks[network["id"]] = network
            central.members[network["id"]] = {}
            _update_v1(network, body)
            return 200, network
        return 200, list(central.networks.values())
    return 404, None


def _update_v1(network: dict[str, Any], body: Any) -> None:
    for name in ("description", "rulesSource", "tagsByName", "capabilitiesByName"):
        if name in body:
            network[name] = body[name]
    network["config"].update({k: value for k, value in body.get("config", {}).items() if k in network["config"]})


@contextmanager
def serve(version: str) -> Iterator[Central]:
    """Run the double of ``v1`` or ``v2``."""
    central = Central()
    respond: Callable[[Any, str, str, Any], Answer] = v1 if version == "v1" else v2
    scheme = "token" if version == "v1" else "Bearer"
    lock = threading.Lock()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _serve(self) -> None:
            length = int(self.headers.get("Content-Length", "0"))
            body = json.loads(self.rfile.read(length)) if length else None
            path = self.path.removeprefix("/api").removeprefix("/v1")
            with lock:
                central.requests.append((self.command, path, body))
                authorized = self.headers.get("Authorization") == f"{scheme} {TOKEN}"
                status, answer = respond(central, self.command, path, body) if authorized else (401, {"code": 401})
                content = b"" if answer is None else json.dumps(answer).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(content)))
            self.send_header("Content-Type", "application/json")
            self.end_headers()
            self.wfile.write(content)

        do_GET = do_POST = do_DELETE = do_PATCH = _serve

        def log_message(self, format: str, *args: Any) -> None:
            """Keep quiet."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    central.url = f"http://127.0.0.1:{server.server_address[1]}/api/{version}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield central
    finally:
        server.shutdown()
        server.server_close()
        thread.join(5)
