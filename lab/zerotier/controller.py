"""The self-hosted controller: networks and members on disk, and the configuration that each member gets.

Files as the real one keeps them: `controller.d/network/<nwid>.json` and `controller.d/network/<nwid>/member/<id>.json`.
The key that only authorised members of a network get, and its age, lie beside them in `controller.d/keys/`.
"""

from __future__ import annotations

import hashlib
import ipaddress
import json
import os
import re
import secrets
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from . import addressing
from .documents import Document, new_member, new_network, update_member, update_network, with_revision
from .identity import Identity, IdentityError
from .json_text import dump

_NETWORK_FILE = re.compile(r"[0-9a-f]{16}\.json")
_MEMBER_FILE = re.compile(r"[0-9a-fA-F]{10}\.json")


@dataclass(slots=True)
class Network:
    """One network; members by lower-case node address, the network key in hex."""

    id: int
    document: Document
    key: str
    sequence: int = 0
    members: dict[str, Document] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Answer:
    """What a node that asked for its configuration gets: 'ok', 'denied' or 'not found'."""

    status: str
    config: dict[str, Any] | None = None


def write_atomically(path: Path, data: bytes, mode: int = 0o644) -> None:
    """Replace a file so that a crash leaves the old or the new content."""
    temporary = path.with_name(path.name + ".new")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode)
    with os.fdopen(descriptor, "wb") as file:
        file.write(data)
    temporary.replace(path)


class Controller:
    """The controller of the networks whose IDs begin with ``node_address``.

    ``on_change`` is called with a network's ID after every change that its members must hear of, ``log`` with one line
    for each file that can't be read.
    """

    def __init__(
        self,
        folder: Path,
        node_address: str,
        *,
        clock_ms: Callable[[], int],
        on_change: Callable[[int], None],
        log: Callable[[str], None],
    ) -> None:
        self._folder = folder / "network"
        self._keys = folder / "keys"
        self._node_address = node_address
        self._clock_ms = clock_ms
        self._on_change = on_change
        self._log = log
        self.networks: dict[int, Network] = {}
        self.counters = {"requests": 0, "auths": 0, "deauths": 0, "network_changes": 0, "member_changes": 0}
        for path in (folder, self._keys):
            path.mkdir(parents=True, exist_ok=True)
            path.chmod(0o700)
        for path in (self._folder, folder / "trace"):
            path.mkdir(exist_ok=True)
        self._load()

    def _read_document(self, path: Path) -> Document | None:
        try:
            document = json.loads(path.read_bytes())
        except (OSError, ValueError) as error:
            self._log(f"{path} can't be read and is left out: {error}")
            return None
        if not isinstance(document, dict):
            self._log(f"{path} holds no object and is left out")
            return None
        return document

    def _load(self) -> None:
        for path in sorted(self._folder.iterdir()):
            if not _NETWORK_FILE.fullmatch(path.name):
                continue
            document = self._read_document(path)
            if document is None:
                continue
            network_id = int(path.stem, 16)
            blank = new_network(path.stem, 0)
            network = Network(network_id, {**blank, "revision": 0, **document}, self._load_key(network_id))
            self.networks[network_id] = network
            for member_path in sorted((self._folder / path.stem / "member").glob("*.json")):
                if not _MEMBER_FILE.fullmatch(member_path.name):
                    continue
                member = self._read_document(member_path)
                if member is not None:
                    blank = new_member(path.stem, member_path.stem, 0)
                    network.members[member_path.stem.lower()] = {**blank, "revision": 0, **member}

    def _load_key(self, network_id: int) -> str:
        path = self._keys / f"{network_id:016x}"
        try:
            key = path.read_text().strip()
            if re.fullmatch(r"[0-9a-f]{64}", key):
                return key
        except OSError:
            pass
        return self._new_key(network_id)

    def _new_key(self, network_id: int) -> str:
        key = secrets.token_hex(32)
        write_atomically(self._keys / f"{network_id:016x}", key.encode(), 0o600)
        return key

    def _save_network(self, network: Network) -> None:
        write_atomically(self._folder / f"{network.id:016x}.json", dump(network.document))

    def _member_path(self, network: Network, address: str) -> Path:
        return self._folder / f"{network.id:016x}" / "member" / f"{address}.json"

    def _save_member(self, network: Network, address: str, member: Document) -> None:
        path = self._member_path(network, address)
        if not path.parent.exists():
            path.parent.mkdir(parents=True)
        write_atomically(path, dump(member))
        network.members[address] = member

    # What the API does.

    def unused_network_id(self) -> int:
        while True:
            network_id = int(self._node_address + secrets.token_hex(3), 16)
            if network_id not in self.networks and network_id & 0xFFFFFF:
                return network_id

    def put_network(self, network_id: int, body: object) -> Document:
        """Create or change a network and return it."""
        network = self.networks.get(network_id)
        old = None if network is None else network.document
        base = new_network(f"{network_id:016x}", self._clock_ms()) if old is None else old
        if network_id == 0:  # the real one answers but keeps nothing
            return update_network(base, body)
        document = with_revision(old, update_network(base, body))
        if network is None:
            network = Network(network_id, document, self._load_key(network_id))
            self.networks[network_id] = network
        elif document is old:
            return document
        network.document = document
        self._save_network(network)
        self.counters["network_changes"] += 1
        self._on_change(network_id)
        return document

    def delete_network(self, network_id: int) -> Document | None:
        network = self.networks.pop(network_id, None)
        if network is None:
            return None
        (self._folder / f"{network_id:016x}.json").unlink(missing_ok=True)
        shutil.rmtree(self._folder / f"{network_id:016x}", ignore_errors=True)
        (self._keys / f"{network_id:016x}").unlink(missing_ok=True)
        self._on_change(network_id)
        return network.document

    def put_member(self, network: Network, spelling: str, body: object) -> Document:
        """Create or change a member and return it; the ID is kept as the client spelled it."""
        address = spelling.lower()
        old = network.members.get(address)
        now = self._clock_ms()
        base = new_member(f"{network.id:016x}", spelling, now) if old is None else old
        updated = {**update_member(base, body, now), "id": spelling, "address": spelling}
        if address == "0000000000":  # the real one answers but keeps nothing
            return {**updated, "revision": 0}
        new = with_revision(old, updated)
        if new is not old:
            self._save_member(network, address, new)
            self._count_authorisation(old, new)
            if old is not None and old["authorized"] and not new["authorized"]:
                network.key = self._new_key(network.id)
            self._on_change(network.id)
        return new

    def _count_authorisation(self, old: Document | None, new: Document) -> None:
        self.counters["member_changes"] += 1
        before = old is not None and bool(old["authorized"])
        if new["authorized"] != before:
            self.counters["auths" if new["authorized"] else "deauths"] += 1

    def delete_member(self, network: Network, address: str) -> Document | None:
        member = network.members.pop(address.lower(), None)
        if member is None:
            return None
        self._member_path(network, address.lower()).unlink(missing_ok=True)
        if member["authorized"]:
            network.key = self._new_key(network.id)
        self._on_change(network.id)
        return member

    # What nodes ask for.

    def answer(self, network_id: int, identity: Identity, version: tuple[int, int, int], protocol: int) -> Answer:
        """Serve a node's request for its configuration, making its member document at first contact."""
        self.counters["requests"] += 1
        network = self.networks.get(network_id)
        if network is None or not f"{network_id:016x}".startswith(self._node_address):
            return Answer("not found")
        old = network.members.get(identity.address)
        now = self._clock_ms()
        member = dict(new_member(f"{network_id:016x}", identity.address, now) if old is None else old)
        if old is None:
            member["capabilities"] = [c["id"] for c in network.document["capabilities"] if c["default"]]
        if member.setdefault("identity", identity.public_text) != identity.public_text:
            return Answer("denied")
        if not member["authorized"] and not network.document["private"]:
            member |= {"authorized": True, "lastAuthorizedTime": now, "lastAuthorizedCredentialType": "public"}
        if member["authorized"]:
            member |= {"vMajor": version[0], "vMinor": version[1], "vRev": version[2], "vProto": protocol}
            member["tags"] = self._tags_with_defaults(network, member)
            member["ipAssignments"] = self._with_assigned(network, member, identity.address)
        new = with_revision(old, member)
        if new is not old:
            self._save_member(network, identity.address, new)
            self._count_authorisation(old, new)
            self._on_change(network_id)
        if not new["authorized"]:
            return Answer("denied")
        return Answer("ok", self.configuration(network, new))

    def is_authorised(self, network_id: int, address: str) -> bool:
        network = self.networks.get(network_id)
        member = None if network is None else network.members.get(address)
        return member is not None and bool(member["authorized"])

    @staticmethod
    def _tags_with_defaults(network: Network, member: Document) -> list[list[int]]:
        tags = dict(member["tags"])
        for tag in network.document["tags"]:
            if tag["default"] is not None:
                tags.setdefault(tag["id"], tag["default"])
        return [[number, tags[number]] for number in sorted(tags)]

    @staticmethod
    def _routes(network: Network) -> Iterator[ipaddress.IPv4Network | ipaddress.IPv6Network]:
        for route in network.document["routes"]:
            if route["via"] is None:
                yield ipaddress.ip_network(route["target"], strict=False)

    def _with_assigned(self, network: Network, member: Document, address: str) -> list[str]:
        """The member's addresses, with one from a pool for each family whose automatic assignment is on."""
        assigned = list(member["ipAssignments"])
        if member["noAutoAssignIps"] or member["activeBridge"]:
            return assigned
        for version, mode in ((4, "v4AssignMode"), (6, "v6AssignMode")):
            wanted = network.document[mode].get("zt", False)
            if wanted and all(ipaddress.ip_address(text).version != version for text in assigned):
                free = self._free_address(network, version, address)
                if free is not None:
                    assigned.append(free)
        return assigned

    def _free_address(self, network: Network, version: int, address: str) -> str | None:
        taken = {text for member in network.members.values() for text in member["ipAssignments"]}
        for pool in network.document["ipAssignmentPools"]:
            first, last = ipaddress.ip_address(pool["ipRangeStart"]), ipaddress.ip_address(pool["ipRangeEnd"])
            size = int(last) - int(first) + 1
            if first.version != version or size < 1:
                continue
            digest = hashlib.sha256(f"{network.id:016x}{address}".encode()).digest()
            for step in range(min(size, 65536)):
                candidate = first + (int.from_bytes(digest[:8], "big") + step) % size
                if str(candidate) not in taken and any(candidate in route for route in self._routes(network)):
                    return str(candidate)
        return None

    def _prefixed(self, network: Network, text: str) -> str:
        """The address with the length of the managed route that holds it, 0 where none does."""
        address = ipaddress.ip_address(text)
        bits = [route.prefixlen for route in self._routes(network) if address in route]
        return f"{text}/{max(bits, default=0)}"

    def addresses_of(self, network: Network, member: Document, address: str) -> list[str]:
        """All addresses a member has, computed IPv6 first, each with its prefix length."""
        modes = network.document["v6AssignMode"]
        computed = []
        if modes.get("rfc4193"):
            computed.append(addressing.rfc4193_address(address, network.id) + "/88")
        if modes.get("6plane"):
            computed.append(addressing.sixplane_address(address, network.id) + "/40")
        return computed + [self._prefixed(network, text) for text in member["ipAssignments"]]

    def configuration(self, network: Network, member: Document) -> dict[str, Any]:
        """What one authorised member gets; ``sequence`` grows so that an old configuration can't undo a newer one."""
        document = network.document
        network.sequence = max(network.sequence + 1, self._clock_ms())
        members = []
        for address, other in network.members.items():
            if other["authorized"] and "identity" in other:
                try:
                    public = Identity.parse(other["identity"]).public.hex()
                except IdentityError:
                    continue
                ips = [text.partition("/")[0] for text in self.addresses_of(network, other, address)]
                members.append([address, public, ips, other["tags"], other["capabilities"]])
        address = str(member["address"]).lower()
        return {
            "nwid": f"{network.id:016x}",
            "sequence": network.sequence,
            "key": network.key,
            "name": document["name"],
            "revision": document["revision"],
            "mtu": document["mtu"],
            "multicastLimit": document["multicastLimit"],
            "enableBroadcast": document["enableBroadcast"],
            "private": document["private"],
            "routes": document["routes"],
            "dns": document["dns"],
            "rules": document["rules"],
            "capabilities": document["capabilities"],
            "bridge": member["activeBridge"],
            "addresses": self.addresses_of(network, member, address),
            "members": members,
        }
