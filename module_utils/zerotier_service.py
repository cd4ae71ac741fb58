"""Client of the API that every ZeroTier node serves on its own host, for joining and leaving networks.

Standard library only: it runs on the nodes themselves. A new connection is opened for every request, which the node
answers in about 1 ms instead of 27 ms on a kept one.
"""

from __future__ import annotations

import http.client
import json
import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

ALLOW_FLAGS: Final = {
    "allow_managed": "allowManaged",
    "allow_global": "allowGlobal",
    "allow_default": "allowDefault",
    "allow_dns": "allowDNS",
}
# Waiting alone doesn't clear this status (the network's interface can't be made), so the wait ends early.
PORT_ERROR: Final = "PORT_ERROR"


class ServiceError(Exception):
    """The node's API didn't do what was asked; the message says why and never shows the token."""


@dataclass(frozen=True, slots=True)
class JoinedNetwork:
    """A network as the node itself sees it."""

    id: str
    name: str
    status: str
    assigned_addresses: tuple[str, ...]
    interface: str
    mac: str
    mtu: int
    allow: Mapping[str, bool]

    def as_dict(self) -> dict[str, Any]:
        """Everything as plain data."""
        return {
            "id": self.id,
            "name": self.name,
            "status": self.status,
            "assigned_addresses": list(self.assigned_addresses),
            "interface": self.interface,
            "mac": self.mac,
            "mtu": self.mtu,
            **self.allow,
        }


class Service:
    """The API of one node, by default on this host. ``timeout`` is in seconds."""

    def __init__(self, token: str, *, host: str = "127.0.0.1", port: int = 9993, timeout: float = 10.0) -> None:
        token = token.strip()
        if not token or not token.isascii() or not token.isprintable():
            raise ServiceError("the node's token is empty or holds characters that no token has")
        self._token = token
        self._host = host
        self._port = port
        self._timeout = timeout

    def __repr__(self) -> str:
        return f"<Service {self._host}:{self._port}>"

    def _request(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> Any:
        what = f"{method} http://{self._host}:{self._port}{path}"
        connection = http.client.HTTPConnection(self._host, self._port, timeout=self._timeout)
        try:
            connection.request(
                method,
                path,
                body=None if body is None else json.dumps(body),
                headers={"X-ZT1-Auth": self._token, "Content-Type": "application/json", "Connection": "close"},
            )
            response = connection.getresponse()
            content = response.read()
            status = response.status
        except (OSError, http.client.HTTPException) as error:
            raise ServiceError(
                f"{what}: {type(error).__name__}: {error}; does zerotier-one run, and on this port?"
            ) from error
        finally:
            connection.close()
        if status == 404:
            return None
        if status == 401:
            raise ServiceError(f"{what}: the node doesn't accept this token")
        if status >= 400:
            raise ServiceError(f"{what}: the node answered {status}")
        if not content.strip():
            return None
        try:
            return json.loads(content)
        except (ValueError, RecursionError) as error:
            raise ServiceError(f"{what}: the answer isn't JSON: is it another service's port?") from error

    def status(self) -> dict[str, Any]:
        """The node's own status: address, version, online and more."""
        status = self._request("GET", "/status")
        if not isinstance(status, dict) or not isinstance(status.get("address"), str):
            raise ServiceError("GET /status: this isn't a ZeroTier node")
        return status

    def network(self, network_id: str) -> JoinedNetwork | None:
        """A joined network, or None."""
        answer = self._request("GET", f"/network/{network_id}")
        return None if answer is None else _joined(answer)

    def networks(self) -> list[JoinedNetwork]:
        """All joined networks."""
        answer = self._request("GET", "/network")
        if not isinstance(answer, list):
            raise ServiceError("GET /network: a list was expected")
        return [_joined(entry) for entry in answer]

    def join(self, network_id: str, allow: Mapping[str, bool]) -> None:
        """Join a network, or change its allow flags."""
        self._request("POST", f"/network/{network_id}", {ALLOW_FLAGS[name]: value for name, value in allow.items()})

    def leave(self, network_id: str) -> None:
        """Leave a network; it may be left already."""
        self._request("DELETE", f"/network/{network_id}")


def _joined(answer: object) -> JoinedNetwork:
    if not isinstance(answer, dict) or not isinstance(answer.get("id"), str):
        raise ServiceError("the node describes a network without an id")
    return JoinedNetwork(
        id=answer["id"].lower(),
        name=str(answer.get("name") or ""),
        status=str(answer.get("status") or ""),
        assigned_addresses=tuple(str(address) for address in answer.get("assignedAddresses") or ()),
        interface=str(answer.get("portDeviceName") or ""),
        mac=str(answer.get("mac") or ""),
        mtu=int(answer.get("mtu") or 0),
        allow={name: bool(answer.get(wire, False)) for name, wire in ALLOW_FLAGS.items()},
    )


def valid_network_id(value: str) -> str:
    """The id in lower case; raises ServiceError when it isn't 16 hexadecimal digits."""
    if not re.fullmatch(r"[0-9a-fA-F]{16}", value.strip()):
        raise ServiceError(f"{value!r} is no ZeroTier network id: it has 16 hexadecimal digits")
    return value.strip().lower()


def wait_for_ok(
    service: Service,
    network_id: str,
    *,
    seconds: float,
    with_address: bool,
    sleep: Callable[[float], None] = time.sleep,
    monotonic: Callable[[], float] = time.monotonic,
) -> JoinedNetwork:
    """Wait until the network is OK, and has an address where that is wanted.

    Raises ServiceError with the last status when the time is over, or at once when the interface can't be made.
    """
    deadline = monotonic() + seconds
    while True:
        network = service.network(network_id)
        if network is not None and network.status == "OK" and (network.assigned_addresses or not with_address):
            return network
        if network is not None and network.status == PORT_ERROR:
            raise ServiceError(
                f"the network {network_id} has PORT_ERROR: the node can't make its interface; is /dev/net/tun "
                "usable by the user that zerotier-one runs as?"
            )
        if monotonic() >= deadline:
            raise ServiceError(f"the network {network_id} isn't ready after {seconds:g} s: {_explain(network)}")
        sleep(min(0.5, max(0.05, deadline - monotonic())))


def _explain(network: JoinedNetwork | None) -> str:
    if network is None:
        return "the node doesn't list it; can it make its interface (/dev/net/tun)?"
    if network.status == "OK":
        return "it is OK and has no address: the member has none assigned, or the network no pool"
    explanations = {
        "ACCESS_DENIED": "the controller hasn't authorised this node",
        "NOT_FOUND": "the controller doesn't know the network",
        "REQUESTING_CONFIGURATION": "the controller hasn't answered: it can't be reached",
    }
    return f"{network.status}: {explanations.get(network.status, 'see zerotier-cli listnetworks')}"
