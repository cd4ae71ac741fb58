"""Client of ZeroTier Central's first API (api.zerotier.com/api/v1, now called Legacy Central)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from module_utils import zerotier_spelling as spelling
    from module_utils.zerotier_central import CentralClient
    from module_utils.zerotier_client import Kind, list_of
    from module_utils.zerotier_model import Member, MemberSettings, Network, NetworkSettings, Reader
else:
    from ansible.module_utils import zerotier_spelling as spelling
    from ansible.module_utils.zerotier_central import CentralClient
    from ansible.module_utils.zerotier_client import Kind, list_of
    from ansible.module_utils.zerotier_model import Member, MemberSettings, Network, NetworkSettings, Reader


class CentralV1Client(CentralClient):
    """Central v1: settings are nested in ``config``, rules and the names of tags and capabilities are beside it."""

    kind: Kind = "central_v1"

    def networks(self) -> list[Network]:
        answer = list_of(self._transport.request("GET", "/network"), "networks")
        return [self._read_network(Reader(entry, "network")) for entry in answer]

    def delete_member(self, network_id: str, address: str) -> None:
        self._delete(self._member_path(network_id, address))

    def _network_body(self, settings: NetworkSettings) -> dict[str, Any]:
        body: dict[str, Any] = {"config": spelling.network_body(settings)}
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
        return self._create_at("/network", network_id, self._network_body(settings))

    def _write_member(self, network_id: str, address: str, settings: MemberSettings, exists: bool) -> None:
        body: dict[str, Any] = {name: settings[name] for name in ("name", "description") if name in settings}
        config = spelling.member_body(settings)
        if config:
            body["config"] = config
        self._transport.request("POST", self._member_path(network_id, address), body)

    @staticmethod
    def _read_network(reader: Reader) -> Network:
        return Network(
            id=reader.identifier("id"),
            **spelling.network_fields(reader.object("config")),
            description=reader.text("description", ""),
            rules_source=reader.text("rulesSource", ""),
            tags_by_name=reader.mapping("tagsByName"),
            capabilities_by_name=reader.mapping("capabilitiesByName"),
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
            **spelling.member_fields(config),
            last_seen=reader.optional_integer("lastSeen") or None,
            physical_address=reader.optional_text("physicalAddress"),
            client_version=reader.optional_text("clientVersion"),
        )
