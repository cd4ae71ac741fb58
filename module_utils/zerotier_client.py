"""Clients of ZeroTier's three control planes behind one interface and one model.

``connect`` gives a client for a self-hosted controller, for Central v1, or for Central v2 (beta: no full specification
of it was published when this was written). Writes send only what differs, are read back, and raise NotApplied when the
control plane answered 200 to something that it didn't keep.
"""

from __future__ import annotations

import abc
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal
from urllib.parse import quote, urlsplit

if TYPE_CHECKING:
    from module_utils import zerotier_http as http
    from module_utils import zerotier_model as model
    from module_utils.zerotier_model import Member, MemberSettings, Network, NetworkSettings, Reader
else:
    from ansible.module_utils import zerotier_http as http
    from ansible.module_utils import zerotier_model as model
    from ansible.module_utils.zerotier_model import Member, MemberSettings, Network, NetworkSettings, Reader

Kind = Literal["controller", "central_v1", "central_v2"]

DEFAULT_URLS: Final[Mapping[str, str]] = {
    "controller": "http://127.0.0.1:9993",
    "central_v1": "https://api.zerotier.com/api/v1",
    "central_v2": "https://central.zerotier.com/api/v2",
}


class NotApplied(http.ApiError):
    """The control plane accepted a write and didn't keep all of it; ``settings`` names what it dropped."""

    def __init__(self, what: str, settings: Mapping[str, Any], found: Mapping[str, Any]) -> None:
        shown = "; ".join(f"{name}: wanted {value!r}, found {found.get(name)!r}" for name, value in settings.items())
        super().__init__(f"{what}: the control plane answered that all is well and kept something else: {shown}")
        self.settings = dict(settings)


@dataclass(frozen=True, slots=True)
class Presence:
    """When a control plane last heard from a node (ms since the epoch), and from where."""

    last_seen: int | None
    physical_address: str | None
    client_version: str | None


class Client(abc.ABC):
    """What can be done on every control plane."""

    kind: Kind
    # Settings that this control plane doesn't keep.
    unsupported_network_settings: frozenset[str] = frozenset()
    unsupported_member_settings: frozenset[str] = frozenset()

    def __init__(self, transport: http.Transport) -> None:
        self._transport = transport

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.url}>"

    @property
    def url(self) -> str:
        """The base URL."""
        return self._transport.base_url

    @abc.abstractmethod
    def networks(self) -> list[Network]:
        """All networks that the token may see."""

    @abc.abstractmethod
    def network(self, network_id: str) -> Network | None:
        """One network, or None when there is none with this id."""

    @abc.abstractmethod
    def members(self, network_id: str) -> list[Member]:
        """All members of a network. Raises NotFound when there is no such network."""

    @abc.abstractmethod
    def member(self, network_id: str, address: str) -> Member | None:
        """One member, or None when the network has none with this address."""

    @abc.abstractmethod
    def delete_network(self, network_id: str) -> None:
        """Delete a network; it may be gone already."""

    @abc.abstractmethod
    def delete_member(self, network_id: str, address: str) -> None:
        """Delete a member; it may be gone already."""

    @abc.abstractmethod
    def _create_network(self, settings: NetworkSettings, network_id: str | None, group: str | None) -> Network: ...

    @abc.abstractmethod
    def _write_network(self, network_id: str, settings: NetworkSettings) -> None: ...

    @abc.abstractmethod
    def _write_member(self, network_id: str, address: str, settings: MemberSettings, exists: bool) -> None: ...

    def presence(self) -> dict[str, Presence]:
        """Who was heard from lately, by node address, where that isn't part of the members."""
        return {}

    def networks_named(self, name: str) -> list[Network]:
        """The networks with exactly this name: names aren't unique."""
        return [network for network in self.networks() if network.name == name]

    def create_network(
        self, settings: NetworkSettings, *, network_id: str | None = None, group: str | None = None
    ) -> Network:
        """Create a network and read it back.

        ``network_id`` chooses the id, which only a controller lets its caller do; ``group`` is the network group that
        Central v2 wants.
        """
        created = self._create_network(settings, network_id, group)
        remaining = model.differences(settings, created.settings())
        if remaining:
            self._write_network(created.id, NetworkSettings(**remaining))  # type: ignore[typeddict-item]
        return self._read_back_network(created.id, settings)

    def update_network(self, network_id: str, changes: NetworkSettings) -> Network:
        """Write the changed settings of a network and read it back."""
        self._write_network(network_id, changes)
        return self._read_back_network(network_id, changes)

    def _read_back_network(self, network_id: str, wanted: NetworkSettings) -> Network:
        network = self.network(network_id)
        if network is None:
            raise http.NotFound(f"the network {network_id} is gone right after it was written", status=404)
        dropped = model.differences(wanted, network.settings())
        if dropped:
            raise NotApplied(f"network {network_id}", dropped, network.settings())
        return network

    def update_member(self, network_id: str, address: str, changes: MemberSettings, *, exists: bool = True) -> Member:
        """Write the changed settings of a member, which may be one that never joined, and read it back."""
        self._write_member(network_id, address, changes, exists)
        member = self.member(network_id, address)
        if member is None:
            raise http.NotFound(f"the member {address} is gone right after it was written", status=404)
        dropped = model.differences(changes, member.settings())
        if dropped:
            raise NotApplied(f"member {address} of {network_id}", dropped, member.settings())
        return member

    def update_members(
        self, network_id: str, changes: Mapping[str, MemberSettings], existing: Iterable[str]
    ) -> dict[str, str]:
        """Write many members in parallel, then read all of them back at once.

        Returns what went wrong, by member; everything that isn't in it was written and kept.
        """
        known = set(existing)
        failures: dict[str, str] = {}

        def write(address: str) -> None:
            try:
                self._write_member(network_id, address, changes[address], address in known)
            except http.Unauthorized:
                raise
            except http.ApiError as error:
                failures[address] = str(error)

        self._transport.each(write, changes)
        found = {member.address: member.settings() for member in self.members(network_id)} if changes else {}
        for address, wanted in changes.items():
            if address in failures:
                continue
            settings = found.get(address)
            if settings is None:
                failures[address] = "gone right after it was written"
            elif dropped := model.differences(wanted, settings):
                failures[address] = str(NotApplied(f"member {address}", dropped, settings))
        return failures

    def remove_members(self, network_id: str, addresses: Iterable[str]) -> dict[str, str]:
        """De-authorise, clear and delete members in that order; returns what went wrong, by member.

        A member that is still online would come back with its rights if it were only deleted.
        """
        failures: dict[str, str] = {}

        def remove(address: str) -> None:
            try:
                self.remove_member(network_id, address)
            except http.Unauthorized:
                raise
            except http.ApiError as error:
                failures[address] = str(error)

        self._transport.each(remove, addresses)
        return failures

    def remove_member(self, network_id: str, address: str) -> None:
        """De-authorise a member, take its addresses, tags and capabilities away, then delete it."""
        self._write_member(
            network_id,
            address,
            MemberSettings(authorized=False, ip_assignments=[], tags={}, capabilities=[]),
            True,
        )
        self.delete_member(network_id, address)

    def _get_or_none(self, path: str) -> Any:
        try:
            return self._transport.request("GET", path)
        except http.NotFound:
            return None

    def _delete(self, path: str, body: object = None) -> None:
        try:
            self._transport.request("DELETE", path, body)
        except http.NotFound:
            return


def _list_of(answer: object, what: str) -> list[Any]:
    if not isinstance(answer, list):
        raise model.MalformedAnswer(f"{what}: a list was expected")
    return answer


def _network_config(settings: NetworkSettings) -> dict[str, Any]:
    """The settings in the spelling that the controller and Central v1 share."""
    names = {
        "name": "name",
        "private": "private",
        "enable_broadcast": "enableBroadcast",
        "multicast_limit": "multicastLimit",
        "mtu": "mtu",
        "routes": "routes",
        "v4_assign_mode": "v4AssignMode",
        "v6_assign_mode": "v6AssignMode",
        "dns": "dns",
        "rules": "rules",
        "tags": "tags",
        "capabilities": "capabilities",
    }
    given: dict[str, Any] = dict(settings)
    config = {wire: given[name] for name, wire in names.items() if name in given}
    if "ip_assignment_pools" in given:
        config["ipAssignmentPools"] = [
            {"ipRangeStart": pool["start"], "ipRangeEnd": pool["end"]} for pool in given["ip_assignment_pools"]
        ]
    return config


def _member_config(settings: MemberSettings) -> dict[str, Any]:
    names = {
        "authorized": "authorized",
        "active_bridge": "activeBridge",
        "no_auto_assign_ips": "noAutoAssignIps",
        "ip_assignments": "ipAssignments",
        "capabilities": "capabilities",
    }
    given: dict[str, Any] = dict(settings)
    config = {wire: given[name] for name, wire in names.items() if name in given}
    if "tags" in given:
        config["tags"] = [[int(tag), value] for tag, value in given["tags"].items()]
    return config


class ControllerClient(Client):
    """A self-hosted controller, through the HTTP API of its node."""

    kind: Kind = "controller"
    unsupported_network_settings = frozenset({"description", "rules_source", "tags_by_name", "capabilities_by_name"})
    unsupported_member_settings = frozenset({"description"})

    def __init__(self, transport: http.Transport) -> None:
        super().__init__(transport)
        self._node: str | None = None

    def check(self) -> None:
        """Raise ApiError unless this node has a controller and its database is ready."""
        try:
            answer = self._transport.request("GET", "/controller")
        except http.NotFound:
            raise http.NotFound(
                f"{self.url}: this node has no controller built in (builds may leave it out from 1.16.0 on), "
                "or the URL isn't a ZeroTier node's",
                status=404,
            ) from None
        if not isinstance(answer, dict) or answer.get("controller") is not True:
            raise model.MalformedAnswer(f"{self.url}/controller: this isn't a ZeroTier controller")

    def node(self) -> str:
        """The address of the controller's node, the first 10 digits of the ids of its networks."""
        if self._node is None:
            self._node = Reader(self._transport.request("GET", "/status"), "status").address("address")
        return self._node

    def networks(self) -> list[Network]:
        answer = self._get_or_none("/unstable/controller/network")
        if answer is not None:
            return [self._read_network(Reader(e, "network")) for e in Reader(answer, "networks").list("data")]
        self.check()
        ids = _list_of(self._transport.request("GET", "/controller/network"), "networks")
        return [network for network in self._transport.each(self.network, map(str, ids)) if network is not None]

    def network(self, network_id: str) -> Network | None:
        answer = self._get_or_none(f"/controller/network/{network_id}")
        if answer is None:
            self.check()
            return None
        return self._read_network(Reader(answer, f"network {network_id}"))

    def members(self, network_id: str) -> list[Member]:
        answer = self._get_or_none(f"/unstable/controller/network/{network_id}/member")
        if answer is not None:
            return [
                self._read_member(Reader(entry, "member"), network_id)
                for entry in Reader(answer, "members").list("data")
            ]
        answer = self._get_or_none(f"/controller/network/{network_id}/member")
        if answer is None:
            self.check()
            raise http.NotFound(f"{self.url}: the controller has no network {network_id}", status=404)
        # An empty network may be written as a list.
        addresses = list(answer) if isinstance(answer, dict) else [str(entry) for entry in _list_of(answer, "members")]
        found = self._transport.each(lambda address: self.member(network_id, address), addresses)
        return [member for member in found if member is not None]

    def member(self, network_id: str, address: str) -> Member | None:
        answer = self._get_or_none(f"/controller/network/{network_id}/member/{address}")
        return None if answer is None else self._read_member(Reader(answer, f"member {address}"), network_id)

    def presence(self) -> dict[str, Presence]:
        presence = {}
        for index, entry in enumerate(_list_of(self._transport.request("GET", "/peer"), "peers")):
            peer = Reader(entry, f"peers[{index}]")
            received: list[tuple[int, str]] = []
            for path in peer.objects("paths"):
                received.append((path.integer("lastReceive", 0), path.text("address", "")))
            last, where = max(received, default=(0, ""))
            presence[peer.address("address")] = Presence(
                last_seen=last or None,
                physical_address=where.partition("/")[0] or None,
                client_version=model.version_text(
                    peer.integer("versionMajor", -1), peer.integer("versionMinor", -1), peer.integer("versionRev", -1)
                ),
            )
        return presence

    def delete_network(self, network_id: str) -> None:
        self._delete(f"/controller/network/{network_id}")

    def delete_member(self, network_id: str, address: str) -> None:
        self._delete(f"/controller/network/{network_id}/member/{address}")

    def _create_network(self, settings: NetworkSettings, network_id: str | None, group: str | None) -> Network:
        self.check()
        path = "/controller/network"
        if network_id is not None:
            self._refuse_foreign(network_id)
            path = f"{path}/{network_id}"
        answer = self._transport.request("POST", path, _network_config(settings), repeatable=network_id is not None)
        return self._read_network(Reader(answer, "the created network"))

    def _refuse_foreign(self, network_id: str) -> None:
        if not network_id.startswith(self.node()):
            raise model.SettingsError(
                f"the network {network_id} isn't this controller's: its id doesn't begin with {self.node()}, "
                "so no node would ever get it from here"
            )

    def _write_network(self, network_id: str, settings: NetworkSettings) -> None:
        self._refuse_foreign(network_id)
        self._transport.request("POST", f"/controller/network/{network_id}", _network_config(settings))

    def _write_member(self, network_id: str, address: str, settings: MemberSettings, exists: bool) -> None:
        body = _member_config(settings)
        if "name" in settings:
            body["name"] = settings["name"]
        self._transport.request("POST", f"/controller/network/{network_id}/member/{address}", body)

    @staticmethod
    def _read_network(reader: Reader) -> Network:
        meta = reader.object("meta")
        return Network(
            id=reader.identifier("id", "nwid"),
            name=reader.text("name", ""),
            private=reader.boolean("private", True),
            enable_broadcast=reader.boolean("enableBroadcast", True),
            multicast_limit=reader.integer("multicastLimit", 32),
            mtu=reader.integer("mtu", 2800),
            routes=model.read_routes(reader),
            ip_assignment_pools=model.read_pools(reader),
            v4_assign_mode=model.read_modes(reader, "v4AssignMode"),
            v6_assign_mode=model.read_modes(reader, "v6AssignMode"),
            dns=model.read_dns(reader),
            rules=tuple(reader.list("rules")),
            tags=model.read_tag_definitions(reader),
            capabilities=model.read_capabilities(reader),
            creation_time=reader.optional_integer("creationTime"),
            revision=reader.optional_integer("revision"),
            total_member_count=meta.optional_integer("totalMemberCount"),
            authorized_member_count=meta.optional_integer("authorizedMemberCount"),
        )

    @staticmethod
    def _read_member(reader: Reader, network_id: str) -> Member:
        return Member(
            network_id=network_id,
            address=reader.address("address", "id"),
            name=reader.text("name", ""),
            authorized=reader.boolean("authorized", False),
            active_bridge=reader.boolean("activeBridge", False),
            no_auto_assign_ips=reader.boolean("noAutoAssignIps", False),
            ip_assignments=reader.addresses("ipAssignments"),
            tags=model.read_member_tags(reader),
            capabilities=tuple(reader.list("capabilities")),
            identity=reader.optional_text("identity"),
            creation_time=reader.optional_integer("creationTime"),
            last_authorized_time=reader.optional_integer("lastAuthorizedTime"),
            last_deauthorized_time=reader.optional_integer("lastDeauthorizedTime"),
            client_version=model.version_text(
                reader.integer("vMajor", -1), reader.integer("vMinor", -1), reader.integer("vRev", -1)
            ),
            revision=reader.optional_integer("revision"),
        )


class CentralV1Client(Client):
    """ZeroTier Central's first API."""

    kind: Kind = "central_v1"

    def networks(self) -> list[Network]:
        answer = _list_of(self._transport.request("GET", "/network"), "networks")
        return [self._read_network(Reader(entry, "network")) for entry in answer]

    def network(self, network_id: str) -> Network | None:
        answer = self._get_or_none(f"/network/{network_id}")
        return None if answer is None else self._read_network(Reader(answer, f"network {network_id}"))

    def members(self, network_id: str) -> list[Member]:
        answer = _list_of(self._transport.request("GET", f"/network/{network_id}/member"), "members")
        return [self._read_member(Reader(entry, "member"), network_id) for entry in answer]

    def member(self, network_id: str, address: str) -> Member | None:
        answer = self._get_or_none(f"/network/{network_id}/member/{address}")
        return None if answer is None else self._read_member(Reader(answer, f"member {address}"), network_id)

    def delete_network(self, network_id: str) -> None:
        self._delete(f"/network/{network_id}")

    def delete_member(self, network_id: str, address: str) -> None:
        self._delete(f"/network/{network_id}/member/{address}")

    @staticmethod
    def _body(settings: NetworkSettings) -> dict[str, Any]:
        body: dict[str, Any] = {"config": _network_config(settings)}
        given: dict[str, Any] = dict(settings)
        for name, wire in (
            ("description", "description"),
            ("rules_source", "rulesSource"),
            ("tags_by_name", "tagsByName"),
            ("capabilities_by_name", "capabilitiesByName"),
        ):
            if name in given:
                body[wire] = given[name]
        return body

    def _create_network(self, settings: NetworkSettings, network_id: str | None, group: str | None) -> Network:
        if network_id is not None:
            raise model.SettingsError(f"there is no network {network_id}, and Central chooses the id of a new one")
        answer = self._transport.request("POST", "/network", self._body(settings), repeatable=False)
        return self._read_network(Reader(answer, "the created network"))

    def _write_network(self, network_id: str, settings: NetworkSettings) -> None:
        self._transport.request("POST", f"/network/{network_id}", self._body(settings))

    def _write_member(self, network_id: str, address: str, settings: MemberSettings, exists: bool) -> None:
        body: dict[str, Any] = {name: settings[name] for name in ("name", "description") if name in settings}
        config = _member_config(settings)
        if config:
            body["config"] = config
        self._transport.request("POST", f"/network/{network_id}/member/{address}", body)

    @staticmethod
    def _read_network(reader: Reader) -> Network:
        config = reader.object("config")
        return Network(
            id=reader.identifier("id"),
            name=config.text("name", ""),
            description=reader.text("description", ""),
            private=config.boolean("private", True),
            enable_broadcast=config.boolean("enableBroadcast", True),
            multicast_limit=config.integer("multicastLimit", 32),
            mtu=config.integer("mtu", 2800),
            routes=model.read_routes(config),
            ip_assignment_pools=model.read_pools(config),
            v4_assign_mode=model.read_modes(config, "v4AssignMode"),
            v6_assign_mode=model.read_modes(config, "v6AssignMode"),
            dns=model.read_dns(config),
            rules=tuple(config.list("rules")),
            rules_source=reader.text("rulesSource", ""),
            tags=model.read_tag_definitions(config),
            capabilities=model.read_capabilities(config),
            tags_by_name=reader.mapping("tagsByName"),
            capabilities_by_name=reader.mapping("capabilitiesByName"),
            creation_time=config.optional_integer("creationTime"),
            total_member_count=reader.optional_integer("totalMemberCount"),
            authorized_member_count=reader.optional_integer("authorizedMemberCount"),
        )

    @staticmethod
    def _read_member(reader: Reader, network_id: str) -> Member:
        config = reader.object("config")
        node = reader.address("nodeId") if reader.has("nodeId") else config.address("address", "id")
        return Member(
            network_id=network_id,
            address=node,
            name=reader.text("name", ""),
            description=reader.text("description", ""),
            authorized=config.boolean("authorized", False),
            active_bridge=config.boolean("activeBridge", False),
            no_auto_assign_ips=config.boolean("noAutoAssignIps", False),
            ip_assignments=config.addresses("ipAssignments"),
            tags=model.read_member_tags(config),
            capabilities=tuple(config.list("capabilities")),
            identity=config.optional_text("identity"),
            creation_time=config.optional_integer("creationTime"),
            last_authorized_time=config.optional_integer("lastAuthorizedTime"),
            last_deauthorized_time=config.optional_integer("lastDeauthorizedTime"),
            last_seen=reader.optional_integer("lastSeen") or None,
            physical_address=reader.optional_text("physicalAddress"),
            client_version=reader.optional_text("clientVersion"),
            revision=config.optional_integer("revision"),
        )


class CentralV2Client(Client):
    """ZeroTier Central's second API (beta: built from what its users wrote about it, no specification was at hand).

    Rules, and the tags and capabilities of members, aren't written: wanting them is an error rather than a network that
    is more open than its description.
    """

    kind: Kind = "central_v2"
    unsupported_network_settings = frozenset({"rules_source", "tags_by_name", "capabilities_by_name"})

    def networks(self) -> list[Network]:
        return [self._read_network(Reader(entry, "network")) for entry in self._all("/network", "networks")]

    def network(self, network_id: str) -> Network | None:
        answer = self._get_or_none(f"/network/{network_id}")
        return None if answer is None else self._read_network(Reader(answer, f"network {network_id}"))

    def members(self, network_id: str) -> list[Member]:
        entries = self._all(f"/network/{network_id}/member", "members")
        return [self._read_member(Reader(entry, "member"), network_id) for entry in entries]

    def member(self, network_id: str, address: str) -> Member | None:
        answer = self._get_or_none(f"/network/{network_id}/member/{address}")
        return None if answer is None else self._read_member(Reader(answer, f"member {address}"), network_id)

    def delete_network(self, network_id: str) -> None:
        self._delete(f"/network/{network_id}")

    def delete_member(self, network_id: str, address: str) -> None:
        self._delete(f"/network/{network_id}/member", [{"deviceId": address}])

    def _all(self, path: str, what: str) -> list[Any]:
        answer = self._transport.request("GET", path)
        return Reader(answer, what).list("items") if isinstance(answer, dict) else _list_of(answer, what)

    @staticmethod
    def _body(settings: NetworkSettings) -> dict[str, Any]:
        _refuse(settings, ("rules", "tags", "capabilities"))
        config = _network_config(settings)
        body: dict[str, Any] = {name: settings[name] for name in ("name", "description") if name in settings}
        config.pop("name", None)
        for old, new in (("v4AssignMode", "v4AssignmentMode"), ("v6AssignMode", "v6AssignmentMode")):
            if old in config:
                config[new] = config.pop(old)
        pools = config.pop("ipAssignmentPools", None)
        if pools is not None:
            for version, name in ((4, "v4IpAssignmentPools"), (6, "v6IpAssignmentPools")):
                config[name] = [pool for pool in pools if (":" in pool["ipRangeStart"]) == (version == 6)]
        if config:
            body["config"] = config
        return body

    def _create_network(self, settings: NetworkSettings, network_id: str | None, group: str | None) -> Network:
        if network_id is not None:
            raise model.SettingsError(f"there is no network {network_id}, and Central chooses the id of a new one")
        if not group:
            raise model.SettingsError("Central v2 creates a network in a network group: network_group is needed")
        path = f"/network-group/{quote(group, safe='')}/network"
        answer = self._transport.request("POST", path, self._body(settings), repeatable=False)
        return self._read_network(Reader(answer, "the created network"))

    def _write_network(self, network_id: str, settings: NetworkSettings) -> None:
        self._transport.request("PATCH", f"/network/{network_id}", self._body(settings))

    def _write_member(self, network_id: str, address: str, settings: MemberSettings, exists: bool) -> None:
        given: dict[str, Any] = dict(settings)
        # Nothing to take away is no wish that can't be met.
        _refuse({name: value for name, value in given.items() if value}, ("tags", "capabilities"))
        path = f"/network/{network_id}/member"
        if not exists:
            self._transport.request("POST", path, [{"deviceId": address}])
        body: dict[str, Any] = {name: given[name] for name in ("name", "description") if name in given}
        for name, wire in (("active_bridge", "activeBridge"), ("no_auto_assign_ips", "noAutoAssignIps")):
            if name in given:
                body[wire] = given[name]
        if "ip_assignments" in given:
            body["ipv4Assignments"] = [text for text in given["ip_assignments"] if ":" not in text]
            body["ipv6Assignments"] = [text for text in given["ip_assignments"] if ":" in text]
        if body:
            self._transport.request("PATCH", f"{path}/{address}", body)
        if "authorized" in given:
            self._transport.request(
                "POST", f"{path}/{address}/{'authorize' if given['authorized'] else 'de-authorize'}"
            )

    @staticmethod
    def _read_network(reader: Reader) -> Network:
        config, stats = reader.object("config"), reader.object("stats")
        pools = model.read_pools(config, "v4IpAssignmentPools") + model.read_pools(config, "v6IpAssignmentPools")
        return Network(
            id=reader.identifier("id"),
            name=reader.text("name", ""),
            description=reader.text("description", ""),
            private=config.boolean("private", True),
            enable_broadcast=config.boolean("enableBroadcast", True),
            multicast_limit=config.integer("multicastLimit", 32),
            mtu=config.integer("mtu", 2800),
            routes=model.read_routes(config),
            ip_assignment_pools=pools,
            v4_assign_mode=model.read_modes(config, "v4AssignmentMode"),
            v6_assign_mode=model.read_modes(config, "v6AssignmentMode"),
            dns=model.read_dns(config),
            total_member_count=stats.optional_integer("totalDevices"),
            authorized_member_count=stats.optional_integer("authorizedDevices"),
        )

    @staticmethod
    def _read_member(reader: Reader, network_id: str) -> Member:
        status = reader.text("status", "not_authorized")
        return Member(
            network_id=network_id,
            address=reader.address("deviceId"),
            name=reader.text("name", ""),
            description=reader.text("description", ""),
            authorized=status == "authorized",
            rejected=status == "rejected",
            active_bridge=reader.boolean("activeBridge", False),
            no_auto_assign_ips=reader.boolean("noAutoAssignIps", False),
            ip_assignments=reader.addresses("ipv4Assignments") + reader.addresses("ipv6Assignments"),
            tags={str(tag): 1 for tag in reader.list("tags")},
            capabilities=tuple(map(str, reader.list("capabilities"))),
            last_seen=reader.moment("lastSeenTime"),
            creation_time=reader.moment("creationTime"),
            physical_address=reader.optional_text("lastSeenIp"),
            client_version=reader.optional_text("agentVersion"),
            revision=reader.optional_integer("revision"),
        )


def _refuse(settings: Mapping[str, Any], names: Iterable[str]) -> None:
    wanted = [name for name in names if name in settings]
    if wanted:
        raise model.SettingsError(f"{', '.join(wanted)} can't be written to Central v2 (beta): set them in Central")


def detect_kind(url: str) -> Kind | None:
    """The kind of control plane that a URL's path tells, or None when it must be asked."""
    path = urlsplit(url).path.rstrip("/")
    if path.endswith("/api/v1"):
        return "central_v1"
    if re.search(r"/api/v2(beta)?$", path):
        return "central_v2"
    return None


@dataclass(frozen=True, slots=True, repr=False)
class Connection:
    """How to reach one control plane. ``api`` is a kind or ``auto``; times are in seconds."""

    api: str
    token: str
    url: str | None = None
    timeout: float = 30.0
    retries: int = 4
    validate_certs: bool = True
    ca_path: str | None = None
    parallel: int = 8

    def __repr__(self) -> str:
        return f"<Connection {self.api} {self.url}>"


def _controller(connection: Connection, url: str, token: str) -> ControllerClient:
    return ControllerClient(_transport(connection, url, {"X-ZT1-Auth": token}, token, fresh=True))


def _transport(
    connection: Connection, url: str, headers: Mapping[str, str], token: str, *, fresh: bool = False
) -> http.Transport:
    return http.Transport(
        url,
        headers,
        token,
        timeout=connection.timeout,
        retries=connection.retries,
        verify=(connection.ca_path or True) if connection.validate_certs else False,
        fresh_connections=fresh,
        parallel=connection.parallel,
    )


def connect(connection: Connection) -> Client:
    """A client for a control plane.

    With ``auto`` the URL's path tells Central's version; any other URL, by default that of this host's own node, is
    asked whether it is a controller. Raises SettingsError for a URL that can't be one, TokenError for such a token, and
    ApiError when the asking fails.
    """
    token = http.clean_token(connection.token)
    if connection.api != "auto" and connection.api not in DEFAULT_URLS:
        raise model.SettingsError(f"api: {connection.api!r} is none of auto, {', '.join(DEFAULT_URLS)}")
    kind: str = connection.api
    url = (connection.url or DEFAULT_URLS["controller" if kind == "auto" else kind]).strip().rstrip("/")
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise model.SettingsError(f"{url!r} is no URL of a control plane: it begins with http:// or https://")
    if parts.username or parts.password:
        raise model.SettingsError("the URL holds a user name or a password: give the token as token or token_file")
    if kind == "auto":
        kind = detect_kind(url) or "auto"
    factories: dict[str, Callable[[], Client]] = {
        "controller": lambda: _controller(connection, url, token),
        "central_v1": lambda: CentralV1Client(_transport(connection, url, {"Authorization": f"token {token}"}, token)),
        "central_v2": lambda: CentralV2Client(_transport(connection, url, {"Authorization": f"Bearer {token}"}, token)),
    }
    if kind == "auto":
        client = _controller(connection, url, token)
        client.check()
        return client
    return factories[kind]()
