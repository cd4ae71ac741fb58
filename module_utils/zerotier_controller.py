"""Client of a self-hosted controller, through the HTTP API of its node."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from module_utils import zerotier_http as http
    from module_utils import zerotier_model as model
    from module_utils import zerotier_spelling as spelling
    from module_utils.zerotier_client import Client, Kind, list_of
    from module_utils.zerotier_model import Member, MemberSettings, Network, NetworkSettings, Presence, Reader
else:
    from ansible.module_utils import zerotier_http as http
    from ansible.module_utils import zerotier_model as model
    from ansible.module_utils import zerotier_spelling as spelling
    from ansible.module_utils.zerotier_client import Client, Kind, list_of
    from ansible.module_utils.zerotier_model import Member, MemberSettings, Network, NetworkSettings, Presence, Reader


class ControllerClient(Client):
    """A self-hosted controller."""

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
        ids = list_of(self._transport.request("GET", "/controller/network"), "networks")
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
        addresses = list(answer) if isinstance(answer, dict) else [str(entry) for entry in list_of(answer, "members")]
        found = self._transport.each(lambda address: self.member(network_id, address), addresses)
        return [member for member in found if member is not None]

    def member(self, network_id: str, address: str) -> Member | None:
        answer = self._get_or_none(f"/controller/network/{network_id}/member/{address}")
        return None if answer is None else self._read_member(Reader(answer, f"member {address}"), network_id)

    def presence(self) -> dict[str, Presence]:
        presence = {}
        for index, entry in enumerate(list_of(self._transport.request("GET", "/peer"), "peers")):
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
        answer = self._transport.request(
            "POST", path, spelling.network_body(settings), repeatable=network_id is not None
        )
        return self._read_network(Reader(answer, "the created network"))

    def _refuse_foreign(self, network_id: str) -> None:
        if not network_id.startswith(self.node()):
            raise model.SettingsError(
                f"the network {network_id} isn't this controller's: its id doesn't begin with {self.node()}, "
                "so no node would ever get it from here"
            )

    def _write_network(self, network_id: str, settings: NetworkSettings) -> None:
        self._refuse_foreign(network_id)
        self._transport.request("POST", f"/controller/network/{network_id}", spelling.network_body(settings))

    def _write_member(self, network_id: str, address: str, settings: MemberSettings, exists: bool) -> None:
        body = spelling.member_body(settings)
        if "name" in settings:
            body["name"] = settings["name"]
        self._transport.request("POST", f"/controller/network/{network_id}/member/{address}", body)

    @staticmethod
    def _read_network(reader: Reader) -> Network:
        meta = reader.object("meta")
        return Network(
            id=reader.identifier("id", "nwid"),
            **spelling.network_fields(reader),
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
            **spelling.member_fields(reader),
            client_version=model.version_text(
                reader.integer("vMajor", -1), reader.integer("vMinor", -1), reader.integer("vRev", -1)
            ),
        )
