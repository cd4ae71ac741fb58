"""Client of ZeroTier Central's second API (central.zerotier.com, now called New Central). Beta.

Built to the paths, bodies and answers of its OpenAPI document as a client that was generated from it shows them, and
never run against the service itself. Differences to v1 that matter here: updates name only what changes and are POSTed;
members are authorised by requests of their own; lists of networks are summaries; rules are a text at /v2beta; tags and
capabilities of members can be read only; and the API may answer 403 both for objects that don't exist and for objects
of other owners.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

if TYPE_CHECKING:
    from module_utils import zerotier_http as http
    from module_utils import zerotier_model as model
    from module_utils import zerotier_spelling as spelling
    from module_utils.zerotier_central import CentralClient
    from module_utils.zerotier_client import Kind, list_of, written
    from module_utils.zerotier_model import Member, MemberSettings, Network, NetworkSettings, Reader
else:
    from ansible.module_utils import zerotier_http as http
    from ansible.module_utils import zerotier_model as model
    from ansible.module_utils import zerotier_spelling as spelling
    from ansible.module_utils.zerotier_central import CentralClient
    from ansible.module_utils.zerotier_client import Kind, list_of, written
    from ansible.module_utils.zerotier_model import Member, MemberSettings, Network, NetworkSettings, Reader

# How v2 calls what v1 calls otherwise.
_RENAMED = {"v4AssignMode": "v4AssignmentMode", "v6AssignMode": "v6AssignmentMode"}


class CentralV2Client(CentralClient):
    """Central v2 (beta), from the base URL that v2 and v2beta are under.

    Compiled rules, and tags and capabilities, aren't written: wanting them is an error rather than a network that is
    more open than its description.
    """

    kind: Kind = "central_v2"
    prefix = "/v2"
    unsupported_network_settings = frozenset({"tags_by_name", "capabilities_by_name"})

    def networks(self) -> list[Network]:
        return self._in_full(self._summaries())

    def networks_named(self, name: str) -> list[Network]:
        return self._in_full(network for network in self._summaries() if network.name == name)

    def _summaries(self) -> list[Network]:
        answer = self._transport.request("GET", f"{self.prefix}/network")
        entries = Reader(answer, "networks").list("items") if isinstance(answer, dict) else list_of(answer, "networks")
        return [self._read_network(Reader(entry, "network")) for entry in entries]

    def _in_full(self, summaries: Iterable[Network]) -> list[Network]:
        found = self._transport.each(self.network, [network.id for network in summaries])
        return [network for network in found if network is not None]

    def network(self, network_id: str) -> Network | None:
        try:
            network = super().network(network_id)
        except http.Forbidden:
            if network_id in {summary.id for summary in self._summaries()}:
                raise
            return None
        return None if network is None else replace(network, rules_source=self._rules_source(network_id))

    def _rules_source(self, network_id: str) -> str | None:
        """The text of the rules; None where rules are of another kind, or can't be read with this token."""
        try:
            answer = self._transport.request("GET", f"/v2beta/network/{network_id}/flow-rule")
        except (http.NotFound, http.Forbidden):
            return None
        rules = Reader(answer, "rules")
        return rules.object("config").text("source", "") if rules.text("kind", "") == "custom" else None

    def member(self, network_id: str, address: str) -> Member | None:
        try:
            return super().member(network_id, address)
        except http.Forbidden:
            if address in {member.address for member in self.members(network_id)}:
                raise
            return None

    def delete_member(self, network_id: str, address: str) -> None:
        self._delete(f"{self._network_path(network_id)}/member", [{"deviceId": address}])

    def _network_body(self, settings: NetworkSettings) -> dict[str, Any]:
        config = spelling.network_body(settings)
        config.pop("name", None)
        pools = config.pop("ipAssignmentPools", None)
        config = {_RENAMED.get(name, name): value for name, value in config.items()}
        if pools is not None:
            for version, name in ((4, "v4IpAssignmentPools"), (6, "v6IpAssignmentPools")):
                config[name] = [pool for pool in pools if (":" in pool["ipRangeStart"]) == (version == 6)]
        body: dict[str, Any] = {name: settings[name] for name in ("name", "description") if name in settings}
        return body | ({"config": config} if config else {})

    def _create_network(self, settings: NetworkSettings, network_id: str | None, group: str | None) -> Network:
        _refuse(settings, ("rules", "tags", "capabilities"))
        if network_id is None and not group:
            raise model.SettingsError("Central v2 creates a network in a network group: network_group is needed")
        path = f"{self.prefix}/network-group/{quote(group or '', safe='')}/network"
        return self._create_at(path, network_id, self._network_body(settings))

    def _write_network(self, network_id: str, settings: NetworkSettings) -> None:
        _refuse(settings, ("rules", "tags", "capabilities"))
        if self._network_body(settings):
            super()._write_network(network_id, settings)
        if "rules_source" in settings:
            rules = {"kind": "custom", "config": {"source": settings["rules_source"]}}
            with written(f"the other settings of the network {network_id} were written"):
                self._transport.request("POST", f"/v2beta/network/{network_id}/flow-rule", rules)

    def _write_member(self, network_id: str, address: str, settings: MemberSettings, exists: bool) -> None:
        given: dict[str, Any] = dict(settings)
        # A wish to remove tags or capabilities that the member doesn't have is no error.
        _refuse({name: value for name, value in given.items() if value}, ("tags", "capabilities"))
        body: dict[str, Any] = {name: given[name] for name in ("name", "description") if name in given}
        for name, wire in (("active_bridge", "activeBridge"), ("no_auto_assign_ips", "noAutoAssignIps")):
            if name in given:
                body[wire] = given[name]
        if "ip_assignments" in given:
            body["ipv4Assignments"] = [text for text in given["ip_assignments"] if ":" not in text]
            body["ipv6Assignments"] = [text for text in given["ip_assignments"] if ":" in text]
        path = self._member_path(network_id, address)
        if not exists:
            self._transport.request("POST", f"{self._network_path(network_id)}/member", [{"deviceId": address, **body}])
        elif body:
            self._transport.request("POST", path, body)
        if "authorized" in given and (exists or given["authorized"]):
            act = "authorize" if given["authorized"] else "de-authorize"
            with written(f"the other settings of the member {address} were written"):
                self._transport.request("POST", f"{path}/{act}")

    @staticmethod
    def _read_network(reader: Reader) -> Network:
        config, stats = reader.object("config"), reader.object("stats")
        pools = model.read_pools(config, "v4IpAssignmentPools") + model.read_pools(config, "v6IpAssignmentPools")
        return Network(
            id=reader.identifier("id"),
            name=reader.text("name", ""),
            description=reader.text("description", ""),
            **spelling.network_core(config),
            ip_assignment_pools=pools,
            v4_assign_mode=model.read_modes(config, "v4AssignmentMode"),
            v6_assign_mode=model.read_modes(config, "v6AssignmentMode"),
            creation_time=reader.moment("creationTime"),
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
            identity=reader.optional_text("identity"),
            last_seen=reader.moment("lastSeenTime"),
            creation_time=reader.moment("creationTime"),
            last_authorized_time=reader.moment("lastAuthorizedTime"),
            last_deauthorized_time=reader.moment("lastDeauthorizedTime"),
            physical_address=reader.optional_text("lastSeenIp"),
            client_version=reader.optional_text("agentVersion"),
            revision=reader.optional_integer("revision"),
        )


def _refuse(settings: Mapping[str, Any], names: Iterable[str]) -> None:
    wanted = [name for name in names if name in settings]
    if wanted:
        raise model.SettingsError(f"{', '.join(wanted)} can't be written to Central v2 (beta): set them in Central")
