"""The daemon's HTTP API: local service and controller, with the real one's answers to good and bad requests."""

from __future__ import annotations

import re
from collections.abc import Callable
from hmac import compare_digest

from . import VERSION, VERSION_TEXT
from .controller import Network
from .http_server import JSON, Request, Response
from .json_text import JsonError, dump, load
from .membership import ALLOW_FLAGS
from .metrics import exposition
from .node import Node, now_ms

_PLANET = {"planetWorldId": 149604618, "planetWorldTimestamp": 1644592324813}
_NETWORK_ID = "([0-9a-fA-F]{16})"
_NODE_ID = "([0-9a-fA-F]{10})"
_NOTHING = Response(404)

Route = tuple[frozenset[str], re.Pattern[str], Callable[..., Response]]


def _json(value: object, status: int = 200) -> Response:
    return Response(status, dump(value), JSON)


class ServiceApi:
    """Answers requests for one node. Tokens are compared without their surrounding white space."""

    def __init__(self, node: Node, token: str, metrics_token: str) -> None:
        self._node = node
        self._token = token.strip().encode()
        self._metrics_token = metrics_token.strip().encode()
        get, put, delete = frozenset({"GET", "HEAD"}), frozenset({"POST", "PUT"}), frozenset({"DELETE"})
        network, member = f"/controller/network/{_NETWORK_ID}", f"/controller/network/{_NETWORK_ID}/member"
        self._routes: list[Route] = [
            (methods, re.compile(pattern), answer)
            for methods, pattern, answer in (
                (get, "/health", self._health),
                (get, "/status", self._status),
                (get, "/metrics", self._metrics),
                (get, "/config", lambda request: _json({})),
                (put, "/config/settings", lambda request: _json({})),
                (get, "/network", self._networks),
                (get, f"/network/{_NETWORK_ID}", self._network),
                (put, f"/network/{_NETWORK_ID}", self._join),
                (delete, f"/network/{_NETWORK_ID}", self._leave),
                (get, "/peer", lambda request: _json(node.peers_json())),
                (get, f"/peer/{_NODE_ID}", self._peer),
                (get, "/moon", lambda request: _json([moon.to_json() for moon in node.moons])),
                (get, f"/moon/{_NODE_ID}", self._moon),
                (put, f"/moon/{_NODE_ID}", self._orbit),
                (delete, f"/moon/{_NODE_ID}", self._deorbit),
                (get, "/controller", self._controller),
                (get, "/controller/network", self._controller_networks),
                (put, "/controller/network", self._create_network),
                (put, "/controller/network/([0-9a-fA-F]{10})______", self._create_network_of),
                (get, network, self._controller_network),
                (put, network, self._put_network),
                (delete, network, self._delete_network),
                (get, member, self._members),
                (get, f"{member}/{_NODE_ID}", self._member),
                (put, f"{member}/{_NODE_ID}", self._put_member),
                (delete, f"{member}/{_NODE_ID}", self._delete_member),
                (get, "/unstable/controller/network", self._all_networks),
                (get, f"/unstable/controller/network/{_NETWORK_ID}/member", self._all_members),
            )
        ]

    def __call__(self, request: Request) -> Response:
        """Answer one request; never raises."""
        if not self._may(request):
            return _json({}, 401)
        for methods, pattern, answer in self._routes:
            match = pattern.fullmatch(request.path)
            if match and request.method in methods:
                try:
                    return answer(request, *match.groups())
                except JsonError as error:
                    # The daemon doesn't escape the message: what it sends here isn't always valid JSON.
                    return Response(500, f'{{"error": 500, "description": "{error}"}}'.encode(), JSON)
                except Exception as error:  # noqa: BLE001 - an answer must come, whatever is on the disk
                    self._node.log(f"{request.method} {request.path}: {type(error).__name__}: {error}")
                    return Response(500, b'{"error": 500, "description": "internal error"}', JSON)
        return _NOTHING

    def _may(self, request: Request) -> bool:
        if not self._node.settings.may_manage(request.host):
            return False
        if request.path == "/health":
            return request.method in ("GET", "HEAD") or self._has(request, self._token)
        if self._has(request, self._token):
            return True
        return request.path == "/metrics" and self._has(request, self._metrics_token)

    @staticmethod
    def _has(request: Request, token: bytes) -> bool:
        bearer = request.headers.get("authorization", "")
        given = [
            request.headers.get("x-zt1-auth", ""),
            bearer[7:] if bearer.lower().startswith("bearer ") else "",
            request.query.get("auth", ""),
        ]
        return any(compare_digest(text.encode(), token) for text in given if text)

    # The node.

    def _health(self, request: Request) -> Response:
        return _json({"clock": now_ms(), "online": self._node.is_online, **self._version()})

    @staticmethod
    def _version() -> dict[str, object]:
        return {
            "version": VERSION_TEXT,
            "versionBuild": 0,
            "versionMajor": VERSION[0],
            "versionMinor": VERSION[1],
            "versionRev": VERSION[2],
        }

    def _status(self, request: Request) -> Response:
        node = self._node
        settings = {
            "allowTcpFallbackRelay": True,
            "forceTcpRelay": False,
            "portMappingEnabled": node.settings.port_mapping_enabled,
            "softwareUpdate": "disable",
            "softwareUpdateChannel": "release",
            **node.settings.written,
            "homeDir": str(node.home),
            "listeningOn": node.listening_on(),
            "primaryPort": node.port,
            "secondaryPort": 0,
            "surfaceAddresses": node.surface_addresses(),
            "tertiaryPort": 0,
        }
        planet = _PLANET
        if node.planet is not None:
            planet = {"planetWorldId": node.planet.id, "planetWorldTimestamp": node.planet.timestamp}
        return _json(
            {
                "address": node.identity.address,
                "clock": now_ms(),
                "config": {"settings": settings},
                "online": node.is_online,
                **planet,
                "publicIdentity": node.identity.public_text,
                "tcpFallbackActive": False,
                **self._version(),
            }
        )

    def _metrics(self, request: Request) -> Response:
        return Response(200, exposition(self._node), "text/plain")

    def _networks(self, request: Request) -> Response:
        return _json([self._node.networks[number].to_json() for number in sorted(self._node.networks)])

    def _network(self, request: Request, network_id: str) -> Response:
        membership = self._node.networks.get(int(network_id, 16))
        return _json({}, 404) if membership is None else _json(membership.to_json())

    def _join(self, request: Request, network_id: str) -> Response:
        """Join or change the permissions; a body that isn't JSON is taken for an empty one."""
        membership = self._node.join(int(network_id, 16))
        if membership is None:
            return _json({})
        try:
            body = load(request.body)
        except JsonError:
            body = None
        wanted = body if isinstance(body, dict) else {}
        changes = {name: wanted[name] for name in ALLOW_FLAGS if isinstance(wanted.get(name), bool)}
        for name, value in changes.items():
            setattr(membership.allow, name, value)
        self._node.save_allow(membership)
        if changes:
            membership.apply_to_device()
        return _json(membership.to_json())

    def _leave(self, request: Request, network_id: str) -> Response:
        return _json({"result": True} if self._node.leave(int(network_id, 16)) else {})

    def _peer(self, request: Request, address: str) -> Response:
        found = [peer for peer in self._node.peers_json() if peer["address"] == address.lower()]
        return _json(found[0] if found else {})

    def _moon(self, request: Request, moon_id: str) -> Response:
        found = [moon.to_json() for moon in self._node.moons if moon.id == int(moon_id, 16)]
        return _json(found[0]) if found else _NOTHING

    def _orbit(self, request: Request, moon_id: str) -> Response:
        """Accept a moon that is in moons.d; as with the real node offline, nothing is fetched from elsewhere."""
        found = [moon.to_json() for moon in self._node.moons if moon.id == int(moon_id, 16)]
        return _json(found[0] if found else {})

    def _deorbit(self, request: Request, moon_id: str) -> Response:
        number = int(moon_id, 16)
        self._node.moons = [moon for moon in self._node.moons if moon.id != number]
        (self._node.home / "moons.d" / f"{number:016x}.moon").unlink(missing_ok=True)
        self._node.use_roots()
        return _json({"result": True})

    # The controller.

    def _controller(self, request: Request) -> Response:
        text = f'{{\n\t"controller": true,\n\t"apiVersion": 4,\n\t"clock": {now_ms()},\n\t"databaseReady": true\n}}\n'
        return Response(200, text.encode(), JSON)

    def _controller_networks(self, request: Request) -> Response:
        return _json([f"{number:016x}" for number in sorted(self._node.controller.networks)])

    def _create_network(self, request: Request) -> Response:
        body = load(request.body)
        return _json(self._node.controller.put_network(self._node.controller.unused_network_id(), body))

    def _create_network_of(self, request: Request, address: str) -> Response:
        if address.lower() != self._node.identity.address:
            return Response(400)
        return self._create_network(request)

    def _find(self, network_id: str) -> Network | None:
        return self._node.controller.networks.get(int(network_id, 16))

    def _controller_network(self, request: Request, network_id: str) -> Response:
        network = self._find(network_id)
        return _NOTHING if network is None else _json(network.document)

    def _put_network(self, request: Request, network_id: str) -> Response:
        return _json(self._node.controller.put_network(int(network_id, 16), load(request.body)))

    def _delete_network(self, request: Request, network_id: str) -> Response:
        document = self._node.controller.delete_network(int(network_id, 16))
        return _NOTHING if document is None else _json(document)

    def _members(self, request: Request, network_id: str) -> Response:
        network = self._find(network_id)
        if network is None:
            return _NOTHING
        return _json({member["id"]: member["revision"] for member in network.members.values()})

    def _member(self, request: Request, network_id: str, address: str) -> Response:
        network = self._find(network_id)
        member = None if network is None else network.members.get(address.lower())
        return _NOTHING if member is None else _json(member)

    def _put_member(self, request: Request, network_id: str, address: str) -> Response:
        network = self._find(network_id)
        if network is None:
            return _NOTHING
        return _json(self._node.controller.put_member(network, address, load(request.body)))

    def _delete_member(self, request: Request, network_id: str, address: str) -> Response:
        network = self._find(network_id)
        member = None if network is None else self._node.controller.delete_member(network, address)
        return _NOTHING if member is None else _json(member)

    @staticmethod
    def _counts(network: Network) -> tuple[int, int]:
        return len(network.members), sum(bool(member["authorized"]) for member in network.members.values())

    def _all_networks(self, request: Request) -> Response:
        data = []
        for number in sorted(self._node.controller.networks):
            network = self._node.controller.networks[number]
            total, authorised = self._counts(network)
            meta = {"authorizedMemberCount": authorised, "totalMemberCount": total}
            data.append({**network.document, "meta": meta})
        return _json({"data": data, "meta": {"networkCount": len(data)}})

    def _all_members(self, request: Request, network_id: str) -> Response:
        network = self._find(network_id)
        if network is None:
            return _NOTHING
        total, authorised = self._counts(network)
        meta = {"authorizedCount": authorised, "totalCount": total}
        return _json({"data": list(network.members.values()), "meta": meta})
