"""What ZeroTier Central's two APIs have in common: the paths of networks and members, and ids that Central chooses."""

from __future__ import annotations

import abc
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from module_utils import zerotier_model as model
    from module_utils.zerotier_client import Client, list_of
    from module_utils.zerotier_model import Member, Network, NetworkSettings, Reader
else:
    from ansible.module_utils import zerotier_model as model
    from ansible.module_utils.zerotier_client import Client, list_of
    from ansible.module_utils.zerotier_model import Member, Network, NetworkSettings, Reader


class CentralClient(Client):
    """Either version; ``prefix`` stands before its paths."""

    prefix = ""

    @staticmethod
    @abc.abstractmethod
    def _read_network(reader: Reader) -> Network: ...

    @staticmethod
    @abc.abstractmethod
    def _read_member(reader: Reader, network_id: str) -> Member: ...

    def _network_path(self, network_id: str) -> str:
        return f"{self.prefix}/network/{network_id}"

    def _member_path(self, network_id: str, address: str) -> str:
        return f"{self._network_path(network_id)}/member/{address}"

    def network(self, network_id: str) -> Network | None:
        answer = self._get_or_none(self._network_path(network_id))
        return None if answer is None else self._read_network(Reader(answer, f"network {network_id}"))

    def members(self, network_id: str) -> list[Member]:
        answer = list_of(self._transport.request("GET", f"{self._network_path(network_id)}/member"), "members")
        return [self._read_member(Reader(entry, "member"), network_id) for entry in answer]

    def member(self, network_id: str, address: str) -> Member | None:
        answer = self._get_or_none(self._member_path(network_id, address))
        return None if answer is None else self._read_member(Reader(answer, f"member {address}"), network_id)

    def delete_network(self, network_id: str) -> None:
        self._delete(self._network_path(network_id))

    def _create_at(self, path: str, network_id: str | None, body: dict[str, Any]) -> Network:
        if network_id is not None:
            raise model.SettingsError(f"there is no network {network_id}, and Central chooses the id of a new one")
        answer = self._transport.request("POST", path, body, repeatable=False)
        return self._read_network(Reader(answer, "the created network"))

    def _write_network(self, network_id: str, settings: NetworkSettings) -> None:
        self._transport.request("POST", self._network_path(network_id), self._network_body(settings))

    @abc.abstractmethod
    def _network_body(self, settings: NetworkSettings) -> dict[str, Any]: ...
