"""The node: peers, paths and relaying, the networks it is a member of, and the controller it may be."""

from __future__ import annotations

import asyncio
import hashlib
import os
import re
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from . import PROTOCOL_VERSION
from .controller import Answer, Controller, write_atomically
from .identity import Identity, IdentityError
from .json_text import JsonError, dump, load
from .membership import DENIED, NOT_FOUND, OK, REQUESTING, Allow, Member, Membership, is_sound
from .peers import PEER_FORGOTTEN_MS, PUBLIC_ROOTS, UNKNOWN_VERSION, Peer, own_version, parse_version, peer_json
from .settings import Settings
from .tap import TapError
from .transport import Transport, is_tryable, local_addresses
from .wire import (
    CONTROL,
    FRAME,
    HELLO,
    OVERHEAD,
    RELAY_HOPS_MAXIMUM,
    Header,
    PacketError,
    open_body,
    parse_header,
    seal,
    split_message,
    with_one_more_hop,
)
from .world import Endpoint, World, WorldError, format_endpoint, parse_endpoint, parse_world

TICK_SECONDS = 0.25
KEEPALIVE_MS = 10_000
# A peer that frames go to and that has been silent for this long is asked whether it is still there.
SILENCE_MS = 3_000
HELLO_RETRY_MS = 1_000
RENDEZVOUS_MS = 5_000
REQUEST_RETRY_MS = 500
REFUSED_RETRY_MS = 5_000
REFRESH_MS = 60_000
# A member that was de-authorised goes on displaying OK for about this long; its traffic stops at once.
REVOKED_DISPLAY_MS = 55_000
PUSH_DELAY_SECONDS = 0.03
PUSH_RETRY_MS = 300
PUSH_RETRY_MAXIMUM_MS = 5_000
ADDRESSES_MS = 60_000
BUSY_PEER_MS = 120_000
WAITING_PACKETS_MAXIMUM = 32
UNKNOWN_HELLOS_PER_SECOND = 100
FRAMES_PER_WAKE = 64

_NETWORK_FILE = re.compile(r"([0-9a-f]{16})\.conf")
_PEER_FILE = re.compile(r"([0-9a-f]{10})\.peer")


def now_ms() -> int:
    return time.time_ns() // 1_000_000


class _Push:
    """What the controller still has to tell one member about one network."""

    __slots__ = ("digest", "message", "sent_at", "tries")

    def __init__(self, message: dict[str, Any], digest: str) -> None:
        self.message = message
        self.digest = digest
        self.sent_at = 0
        self.tries = 0


class Node:
    """One running node; everything happens on the event loop's thread."""

    def __init__(self, home: Path, identity: Identity, settings: Settings, log: Callable[[str], None]) -> None:
        self.home = home
        self.identity = identity
        self.settings = settings
        self.log = log
        self.peers: dict[str, Peer] = {}
        self.networks: dict[int, Membership] = {}
        self.moons: list[World] = []
        self.planet: World | None = None
        self.surface: dict[str, Endpoint] = {}
        self.addresses: list[str] = []
        self.packets: Counter[tuple[str, str]] = Counter()
        self.transport = Transport(settings.bind, settings.primary_port)
        self.port: int = self.transport.sockets[0].getsockname()[1]
        self._own = bytes.fromhex(identity.address)
        self._nonce = time.time_ns()
        self._root_endpoints: dict[str, list[Endpoint]] = {}
        self._is_root = False
        self._waiting: dict[str, list[tuple[int, dict[str, Any]]]] = {}
        self._whois_at: dict[str, int] = {}
        self._rendezvous_at: dict[tuple[str, str], int] = {}
        self._requests: dict[int, int] = {}
        self._refused: dict[int, tuple[str, int]] = {}
        self._told: dict[tuple[int, str], str] = {}
        self._pushes: dict[tuple[int, str], _Push] = {}
        self._subscribers: dict[int, set[str]] = {}
        self._changed_networks: set[int] = set()
        self._unknown_hellos: tuple[int, int] = (0, 0)
        self._saved_paths: dict[str, Endpoint] = {}
        self._addresses_at = 0
        self.controller = Controller(
            home / "controller.d",
            identity.address,
            clock_ms=now_ms,
            on_change=self._controller_changed,
            log=log,
        )

    # Start and end.

    async def run(self) -> None:
        """Run until cancelled."""
        loop = asyncio.get_running_loop()
        self._load_worlds()
        self._load_peers()
        for udp in self.transport.sockets:
            loop.add_reader(udp, self.transport.receive, udp, self._on_packet)
        self._load_networks()
        try:
            while True:
                try:
                    self._tick()
                except Exception as error:  # noqa: BLE001 - one bad peer or file must not end the node
                    self.log(f"internal error: {type(error).__name__}: {error}")
                await asyncio.sleep(TICK_SECONDS)
        finally:
            self._save_peers()
            for udp in self.transport.sockets:
                loop.remove_reader(udp)
            self.transport.close()
            for membership in self.networks.values():
                self._close_tap(membership)

    def _load_worlds(self) -> None:
        paths = [*sorted((self.home / "moons.d").glob("*.moon")), self.home / "planet"]
        for path in paths:
            try:
                world = parse_world(path.read_bytes())
            except FileNotFoundError:
                continue
            except (OSError, WorldError) as error:
                self.log(f"{path} is left out: {error}")
                continue
            if world.kind == "moon":
                self.moons.append(world)
            else:
                self.planet = world
        self.use_roots()

    def use_roots(self) -> None:
        """Take the roots from the moons and the planet in force."""
        self._root_endpoints = {}
        self._is_root = False
        for peer in self.peers.values():
            peer.role = "LEAF"
        for world in [*self.moons, *([self.planet] if self.planet else [])]:
            for root in world.roots:
                address = root.identity.address
                if address == self.identity.address:
                    self._is_root = True
                    continue
                known = self._learn(root.identity)
                if known is None:
                    self.log(f"root {address} in {world.kind} {world.id_text} wasn't made in a lab: left out")
                    continue
                if known.role == "LEAF":
                    known.role = "MOON" if world.kind == "moon" else "PLANET"
                self._root_endpoints.setdefault(address, []).extend(root.endpoints)

    def _load_networks(self) -> None:
        folder = self.home / "networks.d"
        if not folder.is_dir():
            return
        for path in sorted(folder.iterdir()):
            match = _NETWORK_FILE.fullmatch(path.name)
            if match:
                self.join(int(match.group(1), 16))

    # Peers and paths.

    def _learn(self, identity: Identity) -> Peer | None:
        """The peer with this identity, made when new; None for an identity that can't be or contradicts a known one."""
        peer = self.peers.get(identity.address)
        if peer is not None:
            return peer if peer.identity.public == identity.public else None
        try:
            public = Identity.from_public(identity.public)
        except IdentityError:
            return None
        if public.address != identity.address or identity.address == self.identity.address:
            return None
        peer = Peer(public, self.identity.agree(public), now_ms())
        self.peers[identity.address] = peer
        for kind, message in self._waiting.pop(identity.address, []):
            self._send_now(peer, kind, message)
        return peer

    def _pair_key(self, address: str, public: bytes) -> bytes:
        peer = self._learn(Identity(address, public))
        if peer is None:
            raise IdentityError(f"{address} is not the address of its public key")
        return peer.key

    def _load_peers(self) -> None:
        folder = self.home / "peers.d"
        for path in sorted(folder.glob("*.peer")) if folder.is_dir() else []:
            if not _PEER_FILE.fullmatch(path.name):
                continue
            try:
                document = load(path.read_bytes())
                peer = self._learn(Identity.parse(document["identity"]))
                endpoint = parse_endpoint(document["path"])
            except (OSError, JsonError, KeyError, TypeError, IdentityError, WorldError):
                continue
            if peer is not None:
                self._saved_paths[peer.address] = endpoint
                self._hello(peer, endpoint)

    def _save_peers(self) -> None:
        folder = self.home / "peers.d"
        for peer in self.peers.values():
            if peer.path is None or self._saved_paths.get(peer.address) == peer.path:
                continue
            try:
                folder.mkdir(exist_ok=True, mode=0o700)
                document = {"identity": peer.identity.public_text, "path": format_endpoint(peer.path)}
                write_atomically(folder / f"{peer.address}.peer", dump(document), 0o600)
            except OSError as error:
                self.log(f"{folder} can't be written: {error}")
                return
            self._saved_paths[peer.address] = peer.path

    def _next_nonce(self) -> int:
        self._nonce += 1
        return self._nonce

    def _transmit(self, peer: Peer, packet: bytes, now: int) -> None:
        """Send a finished packet the best way there is: directly, else through a root."""
        peer.sent += 1
        if peer.path is not None and peer.is_direct(now):
            if self.transport.send(packet, peer.path):
                peer.last_send = now
                return
            peer.note_unreachable(now)
        if peer.address in self._root_endpoints:
            for endpoint in self._root_endpoints[peer.address]:
                self.transport.send(packet, endpoint)
            if peer.path is not None:
                self.transport.send(packet, peer.path)
            return
        if peer.path is not None and (self._is_root or not self._root_endpoints):
            self.transport.send(packet, peer.path)
            return
        for address, endpoints in self._root_endpoints.items():
            root = self.peers[address]
            if root.path is not None and root.is_direct(now):
                self.transport.send(packet, root.path)
                return
            if endpoints:
                self.transport.send(packet, endpoints[0])

    def _hello_packet(self, peer: Peer) -> bytes:
        now = now_ms()
        body = dump(
            {
                "identity": self.identity.public_text,
                "version": own_version(),
                "protocol": PROTOCOL_VERSION,
                "time": now,
                "paths": [format_endpoint((host, self.port)) for host in self.addresses[:8]],
            }
        )
        self.packets["tx", "hello"] += 1
        return seal(peer.key, HELLO, bytes.fromhex(peer.address), self._own, self._next_nonce(), body)

    def _hello(self, peer: Peer, endpoint: Endpoint | None = None) -> None:
        """Say hello, at a given endpoint or the way packets go to this peer anyhow."""
        packet, now = self._hello_packet(peer), now_ms()
        if endpoint is None or endpoint == peer.path:
            peer.note_probe(now)
        if endpoint is not None:
            self.transport.send(packet, endpoint)
            return
        peer.last_hello = now
        self._transmit(peer, packet, now)

    def _try_direct(self, peer: Peer, endpoint: Endpoint) -> None:
        """Say hello at an endpoint the peer may have, not too often."""
        now = now_ms()
        if peer.is_direct(now) or now - peer.tried.get(endpoint, 0) < HELLO_RETRY_MS or not is_tryable(endpoint):
            return
        if len(peer.tried) >= 32:
            peer.tried.clear()
        peer.tried[endpoint] = now
        self._hello(peer, endpoint)

    def send(self, address: str, message: dict[str, Any]) -> None:
        """Send a control message; waits for the peer's identity where it isn't known yet."""
        peer = self.peers.get(address)
        if peer is not None:
            self._send_now(peer, CONTROL, message)
            return
        waiting = self._waiting.setdefault(address, [])
        if len(waiting) < WAITING_PACKETS_MAXIMUM:
            waiting.append((CONTROL, message))
        self._whois(address)

    def _send_now(self, peer: Peer, kind: int, message: dict[str, Any]) -> None:
        now = now_ms()
        destination = bytes.fromhex(peer.address)
        first = self._next_nonce()
        for nonce, body in split_message(peer.key, message, first):
            self._nonce = max(self._nonce, nonce)
            self.packets["tx", str(message["type"])] += 1
            self._transmit(peer, seal(peer.key, kind, destination, self._own, nonce, body), now)

    def _whois(self, address: str) -> None:
        now = now_ms()
        if now - self._whois_at.get(address, 0) < REQUEST_RETRY_MS:
            return
        if len(self._whois_at) > 4096:
            self._whois_at.clear()
        self._whois_at[address] = now
        for root in self._root_endpoints:
            self._send_now(self.peers[root], CONTROL, {"type": "whois", "address": address})

    # Packets in.

    def _on_packet(self, packet: bytes, source: Endpoint) -> None:
        try:
            header = parse_header(packet)
            if header.destination != self.identity.address:
                self._relay(header, packet, source)
            elif header.source != self.identity.address:
                self._receive(header, packet, source)
        except (PacketError, IdentityError, JsonError, WorldError):
            self.packets["rx", "invalid"] += 1
        except Exception as error:  # noqa: BLE001 - no packet whatsoever may end the node
            self.packets["rx", "error"] += 1
            self.log(f"a packet from {source[0]} was dropped: {type(error).__name__}: {error}")

    def _relay(self, header: Header, packet: bytes, source: Endpoint) -> None:
        """Pass a packet on: only as a root, and only from and to nodes that said hello here."""
        now = now_ms()
        sender, receiver = self.peers.get(header.source), self.peers.get(header.destination)
        if not self._is_root or header.hops >= RELAY_HOPS_MAXIMUM or sender is None or receiver is None:
            return
        if sender.path != source or receiver.path is None or not receiver.is_direct(now):
            return
        self.transport.send(with_one_more_hop(packet), receiver.path)
        self.packets["tx", "relayed"] += 1
        pair = (min(header.source, header.destination), max(header.source, header.destination))
        if now - self._rendezvous_at.get(pair, 0) < RENDEZVOUS_MS:
            return
        if len(self._rendezvous_at) > 4096:
            self._rendezvous_at.clear()
        self._rendezvous_at[pair] = now
        for one, other in ((sender, receiver), (receiver, sender)):
            assert other.path is not None
            message = {
                "type": "rendezvous",
                "identity": other.identity.public_text,
                "endpoint": format_endpoint(other.path),
            }
            self._send_now(one, CONTROL, message)

    def _heard(self, peer: Peer, header: Header, source: Endpoint) -> None:
        """Note an authentic packet from a peer; a direct one says where the peer is."""
        now = now_ms()
        peer.received += 1
        if peer.last_heard == 0:
            self._resume_serving(peer.address)
        peer.last_heard = now
        if header.hops == 0:
            peer.path = source
            peer.last_receive = now

    def _receive(self, header: Header, packet: bytes, source: Endpoint) -> None:
        if header.kind == HELLO:
            self._on_hello(header, packet, source)
            return
        peer = self.peers.get(header.source)
        if peer is None:
            self._whois(header.source)
            return
        if header.kind == FRAME:
            self._on_frame(peer, header, packet, source)
        elif header.kind == CONTROL:
            body = open_body(peer.key, packet)
            self._heard(peer, header, source)
            message = peer.assembler.add(peer.key, header.nonce, body)
            if message is not None:
                self._on_message(peer, message, source, header)

    def _on_hello(self, header: Header, packet: bytes, source: Endpoint) -> None:
        hello = load(packet[OVERHEAD - 16 : -16])
        if not isinstance(hello, dict):
            return
        peer = self.peers.get(header.source)
        if peer is None:
            second, count = self._unknown_hellos
            now_second = now_ms() // 1000
            count = count + 1 if second == now_second else 1
            self._unknown_hellos = (now_second, count)
            if count > UNKNOWN_HELLOS_PER_SECOND:
                return
            identity = Identity.parse(str(hello.get("identity")))
            public = Identity.from_public(identity.public)
            if public.address != header.source:
                raise IdentityError("the address isn't the sender's")
            open_body(self.identity.agree(public), packet)  # before anything is remembered of it
            peer = self._learn(public)
            if peer is None:
                return
        else:
            open_body(peer.key, packet)
        self._heard(peer, header, source)
        self.packets["rx", "hello"] += 1
        peer.version = parse_version(hello.get("version"))
        answer = {
            "type": "hello_ok",
            "time": hello.get("time"),
            "observed": format_endpoint(source) if header.hops == 0 else None,
            "version": own_version(),
        }
        self._send_now(peer, CONTROL, answer)
        paths = hello.get("paths")
        for text in paths[:8] if isinstance(paths, list) and header.hops else []:
            self._try_direct(peer, parse_endpoint(str(text)))

    def _on_message(self, peer: Peer, message: dict[str, Any], source: Endpoint, header: Header) -> None:
        kind = str(message.get("type"))
        self.packets["rx", kind] += 1
        match kind:
            case "hello_ok":
                if isinstance(message.get("time"), int) and header.hops == 0:
                    peer.latency = max(0, min(65535, now_ms() - message["time"]))
                peer.version = parse_version(message.get("version"))
                if isinstance(message.get("observed"), str) and peer.address in self._root_endpoints:
                    self.surface[peer.address] = parse_endpoint(message["observed"])
            case "whois":
                known = self.peers.get(str(message.get("address")))
                if known is not None:
                    self._send_now(peer, CONTROL, {"type": "whois_ok", "identity": known.identity.public_text})
            case "whois_ok":
                self._learn(Identity.parse(str(message.get("identity"))))
            case "rendezvous":
                other = self._learn(Identity.parse(str(message.get("identity"))))
                if other is not None and peer.address in self._root_endpoints:
                    self._try_direct(other, parse_endpoint(str(message.get("endpoint"))))
            case "netconf_request":
                self._on_request(peer, message)
            case "netconf":
                self._on_configuration(peer, message)
            case "netconf_ack":
                self._on_acknowledged(peer, message)

    # Frames.

    def _on_frame(self, peer: Peer, header: Header, packet: bytes, source: Endpoint) -> None:
        start = OVERHEAD - 16
        membership = self.networks.get(int.from_bytes(packet[start : start + 8], "big"))
        sender = None if membership is None else membership.members.get(peer.address)
        if membership is None or sender is None or membership.tap is None:
            return
        try:
            body = open_body(sender.key, packet)
        except PacketError:
            if not sender.previous_key:
                raise
            body = open_body(sender.previous_key, packet)
        self._heard(peer, header, source)
        peer.last_frame = peer.last_heard
        self.packets["rx", "frame"] += 1
        frame = body[8:]
        if membership.incoming(frame, sender):
            try:
                os.write(membership.tap.descriptor, frame)
            except OSError:
                self.packets["rx", "frame_lost"] += 1

    def _on_tap(self, membership: Membership) -> None:
        assert membership.tap is not None
        now = now_ms()
        network = membership.id.to_bytes(8, "big")
        for _ in range(FRAMES_PER_WAKE):
            try:
                frame = os.read(membership.tap.descriptor, 16384)
            except BlockingIOError:
                return
            except OSError as error:
                self.log(f"network {membership.nwid}: the device can't be read: {error}")
                asyncio.get_running_loop().remove_reader(membership.tap.descriptor)
                membership.port_error = error.errno or -1
                return
            for member in membership.outgoing(frame):
                self._send_frame(member, network + frame, now)

    def _send_frame(self, member: Member, body: bytes, now: int) -> None:
        peer = self.peers.get(member.address)
        if peer is None:
            return
        packet = seal(member.key, FRAME, bytes.fromhex(member.address), self._own, self._next_nonce(), body)
        self.packets["tx", "frame"] += 1
        if now - peer.last_hello > HELLO_RETRY_MS and now - peer.last_receive > SILENCE_MS:
            self._hello(peer)  # brings this node's endpoints to the peer, through a root where needed
            if peer.path is not None and not peer.is_direct(now):
                self._hello(peer, peer.path)
        peer.last_frame = now
        self._transmit(peer, packet, now)

    # Membership of networks.

    def _network_file(self, network_id: int, suffix: str = ".conf") -> Path:
        return self.home / "networks.d" / f"{network_id:016x}{suffix}"

    def join(self, network_id: int) -> Membership | None:
        """Join a network or give the present membership; None when this host gives no device."""
        membership = self.networks.get(network_id)
        if membership is not None:
            return membership
        try:
            allow = Allow.parse(self._network_file(network_id, ".local.conf").read_text())
        except (OSError, UnicodeDecodeError):
            allow = Allow()
        membership = Membership(network_id, self.identity.address, allow, self.log)
        self._network_file(network_id).parent.mkdir(exist_ok=True)
        path = self._network_file(network_id)
        if not path.exists() or path.stat().st_size == 0:
            path.write_bytes(b"\n")
        try:
            membership.open_tap()
        except TapError as error:
            self.log(f"network {membership.nwid}: {error}")
            return None
        assert membership.tap is not None
        asyncio.get_running_loop().add_reader(membership.tap.descriptor, self._on_tap, membership)
        self.networks[network_id] = membership
        self._use_cached(membership)
        self._request(membership)
        return membership

    def _use_cached(self, membership: Membership) -> None:
        """Go on with the configuration of before the restart until the controller says otherwise."""
        try:
            config = load(self._network_file(membership.id).read_bytes())
            if is_sound(config) and config["nwid"] == membership.nwid:
                membership.accept(config, self._pair_key)
        except (OSError, JsonError, IdentityError):
            pass

    def save_allow(self, membership: Membership) -> None:
        path = self._network_file(membership.id, ".local.conf")
        text = membership.allow.to_text()
        if not path.exists() or path.read_text(errors="replace") != text:
            path.write_text(text)

    def leave(self, network_id: int) -> bool:
        """Leave a network: remove its device and its files; False when this node wasn't a member."""
        membership = self.networks.pop(network_id, None)
        if membership is None:
            return False
        self._close_tap(membership)
        for suffix in (".conf", ".local.conf"):
            self._network_file(network_id, suffix).unlink(missing_ok=True)
        self._requests.pop(network_id, None)
        self._refused.pop(network_id, None)
        return True

    def _close_tap(self, membership: Membership) -> None:
        if membership.tap is not None:
            asyncio.get_running_loop().remove_reader(membership.tap.descriptor)
            membership.close()

    def _request(self, membership: Membership) -> None:
        """Ask the network's controller for this node's configuration."""
        self._requests[membership.id] = now_ms()
        address = membership.nwid[:10]
        message = {
            "type": "netconf_request",
            "nwid": membership.nwid,
            "version": own_version(),
            "protocol": PROTOCOL_VERSION,
        }
        if address == self.identity.address:
            answer = self.controller.answer(membership.id, self.identity, tuple(own_version()), PROTOCOL_VERSION)  # type: ignore[arg-type]
            self._take(membership, self._answer_message(membership.id, answer))
            return
        peer = self.peers.get(address)
        if peer is not None and not peer.is_direct(now_ms()):
            self._hello(peer)
        self.send(address, message)

    def _on_configuration(self, peer: Peer, message: dict[str, Any]) -> None:
        """An answer or a push from a controller: only that of the network itself counts."""
        nwid = str(message.get("nwid"))
        if not re.fullmatch(r"[0-9a-f]{16}", nwid) or nwid[:10] != peer.address:
            return
        membership = self.networks.get(int(nwid, 16))
        if membership is None:
            return
        self._take(membership, message)
        self._send_now(peer, CONTROL, {"type": "netconf_ack", "nwid": nwid, "digest": message.get("digest")})

    def _take(self, membership: Membership, message: dict[str, Any]) -> None:
        status = message.get("status")
        self._requests[membership.id] = now_ms()
        if status == "ok":
            config = message.get("config")
            if not is_sound(config) or config is None or config["nwid"] != membership.nwid:
                self.log(f"network {membership.nwid}: the controller's configuration can't be used")
                return
            self._refused.pop(membership.id, None)
            if membership.accept(config, self._pair_key):
                write_atomically(self._network_file(membership.id), dump(config), 0o600)
            return
        refusal = DENIED if status == "denied" else NOT_FOUND
        first_at = self._refused.setdefault(membership.id, (refusal, now_ms()))[1]
        if membership.status == OK:
            if not membership.revoked:
                membership.revoke()
                self._network_file(membership.id).write_bytes(b"\n")
                self._refused[membership.id] = (refusal, now_ms())
        elif now_ms() - first_at > REFUSED_RETRY_MS - REQUEST_RETRY_MS:
            membership.refuse(refusal)

    # The controller's side.

    def _resume_serving(self, address: str) -> None:
        """A member is heard for the first time since the start: it may have missed changes, so it is told."""
        for network_id, network in self.controller.networks.items():
            if address in network.members and network.document["nwid"][:10] == self.identity.address:
                self._subscribers.setdefault(network_id, set()).add(address)
                self._controller_changed(network_id)

    def _controller_changed(self, network_id: int) -> None:
        if not self._changed_networks:
            asyncio.get_running_loop().call_later(PUSH_DELAY_SECONDS, self._push_changes)
        self._changed_networks.add(network_id)

    def _answer_message(self, network_id: int, answer: Answer) -> dict[str, Any]:
        content = {k: v for k, v in (answer.config or {}).items() if k != "sequence"}
        digest = hashlib.sha256(dump([answer.status, content])).hexdigest()
        message = {"type": "netconf", "nwid": f"{network_id:016x}", "status": answer.status, "digest": digest}
        return message if answer.config is None else {**message, "config": answer.config}

    def _current_answer(self, network_id: int, address: str) -> Answer:
        network = self.controller.networks.get(network_id)
        if network is None:
            return Answer("not found")
        member = network.members.get(address)
        if member is None or not member["authorized"]:
            return Answer("denied")
        if "identity" not in member or member["vMajor"] == -1 or not member["ipAssignments"]:
            peer = self.peers.get(address)
            identity = self.identity if address == self.identity.address else peer.identity if peer else None
            if identity is not None:
                version = peer.version if peer and peer.version != UNKNOWN_VERSION else (1, 14, 1)
                return self.controller.answer(network_id, identity, version, PROTOCOL_VERSION)
        return Answer("ok", self.controller.configuration(network, member))

    def _push_changes(self) -> None:
        changed, self._changed_networks = self._changed_networks, set()
        for network_id in changed:
            own = self.networks.get(network_id)
            if own is not None and own.nwid[:10] == self.identity.address:
                self._take(own, self._answer_message(network_id, self._current_answer(network_id, own.node_address)))
            for address in self._subscribers.get(network_id, set()):
                message = self._answer_message(network_id, self._current_answer(network_id, address))
                if self._told.get((network_id, address)) != message["digest"]:
                    self._pushes[network_id, address] = _Push(message, message["digest"])
        self._send_pushes()

    def _send_pushes(self) -> None:
        now = now_ms()
        for key, push in list(self._pushes.items()):
            if now - push.sent_at < min(PUSH_RETRY_MS << push.tries, PUSH_RETRY_MAXIMUM_MS):
                continue
            peer = self.peers.get(key[1])
            if peer is None:
                del self._pushes[key]
                continue
            push.sent_at, push.tries = now, min(push.tries + 1, 8)
            self._send_now(peer, CONTROL, push.message)

    def _on_request(self, peer: Peer, message: dict[str, Any]) -> None:
        nwid = str(message.get("nwid"))
        if not re.fullmatch(r"[0-9a-f]{16}", nwid):
            return
        network_id = int(nwid, 16)
        version = parse_version(message.get("version"))
        protocol = message.get("protocol")
        answer = self.controller.answer(
            network_id, peer.identity, version, protocol if isinstance(protocol, int) else -1
        )
        if network_id in self.controller.networks:
            self._subscribers.setdefault(network_id, set()).add(peer.address)
        told = self._answer_message(network_id, answer)
        self._pushes.pop((network_id, peer.address), None)
        self._send_now(peer, CONTROL, told)

    def _on_acknowledged(self, peer: Peer, message: dict[str, Any]) -> None:
        nwid, digest = str(message.get("nwid")), str(message.get("digest"))
        if not re.fullmatch(r"[0-9a-f]{16}", nwid):
            return
        key = (int(nwid, 16), peer.address)
        if peer.address in self._subscribers.get(key[0], set()):
            self._told[key] = digest
        push = self._pushes.get(key)
        if push is not None and push.digest == digest:
            del self._pushes[key]

    # Time.

    def _tick(self) -> None:
        now = now_ms()
        if now - self._addresses_at > ADDRESSES_MS:
            self._addresses_at = now
            self.addresses = local_addresses()
            self._save_peers()
        controllers = {membership.nwid[:10] for membership in self.networks.values()}
        for peer in list(self.peers.values()):
            self._keep(peer, peer.address in controllers, now)
        for membership in list(self.networks.values()):
            self._keep_membership(membership, now)
        if self._pushes:
            self._send_pushes()

    def _keep(self, peer: Peer, is_controller: bool, now: int) -> None:
        important = is_controller or peer.address in self._root_endpoints
        if important:
            age = now - peer.last_heard
            interval = HELLO_RETRY_MS if age > KEEPALIVE_MS + HELLO_RETRY_MS else KEEPALIVE_MS
            if now - peer.last_hello >= interval:
                self._hello(peer)
        elif now - peer.last_frame < BUSY_PEER_MS and now - peer.last_hello >= KEEPALIVE_MS:
            self._hello(peer)
        elif now - max(peer.last_heard, peer.last_hello, peer.known_since) > PEER_FORGOTTEN_MS and not any(
            peer.address in membership.members for membership in self.networks.values()
        ):
            del self.peers[peer.address]

    def _keep_membership(self, membership: Membership, now: int) -> None:
        since_request = now - self._requests.get(membership.id, 0)
        if membership.revoked and membership.status == OK:
            refusal, since = self._refused.get(membership.id, (DENIED, now))
            if now - since > REVOKED_DISPLAY_MS:
                membership.refuse(refusal)
            return
        if membership.status == OK:
            wait = REFRESH_MS
        elif membership.id in self._refused or membership.status != REQUESTING:
            wait = REFUSED_RETRY_MS
        else:
            wait = REQUEST_RETRY_MS
        if since_request >= wait:
            self._request(membership)

    # What the API shows.

    @property
    def is_online(self) -> bool:
        now = now_ms()
        return self._is_root or any(self.peers[address].is_direct(now) for address in self._root_endpoints)

    def peers_json(self) -> list[dict[str, Any]]:
        now = now_ms()
        shown = {
            peer.address: peer.to_json(now) for peer in self.peers.values() if peer.last_heard or peer.role != "LEAF"
        }
        if self.planet is None:
            for address in PUBLIC_ROOTS:
                shown.setdefault(address, peer_json(address, "PLANET", UNKNOWN_VERSION, -1, []))
        return [shown[address] for address in sorted(shown)]

    def listening_on(self) -> list[str]:
        hosts = [str(address) for address in self.settings.bind] or self.addresses
        return [format_endpoint((host, self.port)) for host in hosts]

    def surface_addresses(self) -> list[str]:
        found = {format_endpoint(endpoint) for endpoint in self.surface.values()}
        return sorted(found) if found else self.listening_on() if self._is_root else []
