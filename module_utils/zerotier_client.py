"""One interface to all of ZeroTier's control planes.

Writes send only what differs, are read back, and raise NotApplied when the control plane answered 200 to a setting
that it didn't keep. The modules named after each control plane have its particulars; zerotier_connect finds the right
module.
"""

from __future__ import annotations

import abc
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from module_utils import zerotier_http as http
    from module_utils import zerotier_model as model
    from module_utils.zerotier_model import Member, MemberSettings, Network, NetworkSettings, Presence
else:
    from ansible.module_utils import zerotier_http as http
    from ansible.module_utils import zerotier_model as model
    from ansible.module_utils.zerotier_model import Member, MemberSettings, Network, NetworkSettings, Presence

Kind = Literal["controller", "central_v1", "central_v2"]


class NotApplied(http.ApiError):
    """The control plane accepted a write and didn't keep all of it; ``settings`` names what it dropped."""

    def __init__(self, what: str, settings: Mapping[str, Any], found: Mapping[str, Any]) -> None:
        shown = "; ".join(f"{name}: wanted {value!r}, found {found.get(name)!r}" for name, value in settings.items())
        super().__init__(f"{what}: the control plane answered that all is well and kept something else: {shown}")
        self.settings = dict(settings)


@contextmanager
def written(what: str) -> Iterator[None]:
    """Let errors after a write say that the write was done, so that a half-done change is never silent."""
    try:
        yield
    except NotApplied:
        raise
    except http.ApiError as error:
        raise type(error)(f"{what}, but what had to follow failed: {error}", status=error.status) from error


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
        """When the control plane last heard from nodes, by node address, where the members don't tell it."""
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
        with written(f"the network {created.id} was created"):
            remaining = model.differences(settings, created.settings())
            if remaining:
                self._write_network(created.id, NetworkSettings(**remaining))  # type: ignore[typeddict-item]
            return self._read_back_network(created.id, settings)

    def update_network(self, network_id: str, changes: NetworkSettings) -> Network:
        """Write the changed settings of a network and read it back."""
        self._write_network(network_id, changes)
        with written(f"the network {network_id} was written"):
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
        with written(f"the member {address} was written"):
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
        failures = self._each_member(
            lambda address: self._write_member(network_id, address, changes[address], address in known), changes
        )
        written_now = [address for address in changes if address not in failures]
        if not written_now:
            return failures
        try:
            found = {member.address: member.settings() for member in self.members(network_id)}
        except http.ApiError as error:
            return failures | dict.fromkeys(written_now, f"written, but it couldn't be read back: {error}")
        for address in written_now:
            settings = found.get(address)
            if settings is None:
                failures[address] = "gone right after it was written"
            elif dropped := model.differences(changes[address], settings):
                failures[address] = str(NotApplied(f"member {address}", dropped, settings))
        return failures

    def remove_members(self, network_id: str, addresses: Iterable[str]) -> dict[str, str]:
        """De-authorise, clear and delete members in that order; returns what went wrong, by member.

        A member that is still online would come back with its rights if it were only deleted.
        """
        return self._each_member(lambda address: self.remove_member(network_id, address), addresses)

    def _each_member(self, act: Callable[[str], None], addresses: Iterable[str]) -> dict[str, str]:
        """Do something for every member in parallel; returns what went wrong, by member.

        Once the token isn't accepted any more the rest isn't tried.
        """
        failures: dict[str, str] = {}
        refused: list[str] = []

        def attempt(address: str) -> None:
            if refused:
                failures[address] = f"not tried: {refused[0]}"
                return
            try:
                act(address)
            except http.ApiError as error:
                failures[address] = str(error)
                if isinstance(error, http.Unauthorized):
                    refused.append(str(error))

        self._transport.each(attempt, addresses)
        return failures

    def remove_member(self, network_id: str, address: str) -> None:
        """De-authorise a member, take its addresses, tags and capabilities away, then delete it."""
        self._write_member(
            network_id,
            address,
            MemberSettings(authorized=False, ip_assignments=[], tags={}, capabilities=[]),
            True,
        )
        with written(f"the member {address} was de-authorised and cleared"):
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


def list_of(answer: object, what: str) -> list[Any]:
    """The answer, which has to be a list; raises MalformedAnswer."""
    if not isinstance(answer, list):
        raise model.MalformedAnswer(f"{what}: a list was expected")
    return answer
