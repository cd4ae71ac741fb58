"""Packets between nodes: only authentic ones are opened, whatever arrives; and the filter every frame passes."""

from __future__ import annotations

import random
import struct
from typing import Any

import pytest

from lab.zerotier import wire
from lab.zerotier.addressing import node_mac
from lab.zerotier.identity import Identity
from lab.zerotier.json_text import JsonError, load
from lab.zerotier.membership import Allow, Membership, is_sound

KEY, OTHER_KEY = b"k" * 32, b"o" * 32
A, B = bytes(5), b"\x01" * 5
NETWORK = 0x0123456789000001


def read(packet: bytes) -> bytes:
    wire.parse_header(packet)
    return wire.open_body(KEY, packet)


def test_a_packet_survives_a_relay_and_nothing_else() -> None:
    packet = wire.seal(KEY, wire.FRAME, A, B, 7, b"content")
    assert wire.open_body(KEY, packet) == b"content"
    relayed = wire.with_one_more_hop(packet)
    assert wire.parse_header(relayed).hops == 1
    assert wire.open_body(KEY, relayed) == b"content"
    with pytest.raises(wire.PacketError):
        wire.open_body(OTHER_KEY, packet)
    for position in [0, *range(2, len(packet))]:
        changed = bytearray(packet)
        changed[position] ^= 1
        with pytest.raises(wire.PacketError):
            read(bytes(changed))


@pytest.mark.parametrize("size", [0, 1, 20, 36])
def test_truncated_packets_are_refused(size: int) -> None:
    with pytest.raises(wire.PacketError):
        wire.parse_header(wire.seal(KEY, wire.FRAME, A, B, 7, b"content")[:size])


def test_long_messages_arrive_in_any_order() -> None:
    message = {"type": "x", "content": random.Random(1).randbytes(20000).hex()}
    parts = wire.split_message(KEY, message, 100)
    assert len(parts) > 10
    assert message["content"].encode() not in b"".join(body for _, body in parts)
    random.Random(2).shuffle(parts)
    assembler = wire.Assembler()
    results = [assembler.add(KEY, nonce, body) for nonce, body in parts]
    assert results[-1] == message
    assert results[:-1] == [None] * (len(parts) - 1)


def test_nonsense_in_parts_is_refused() -> None:
    assembler, chance = wire.Assembler(), random.Random(3)
    for _ in range(2000):
        try:
            assert assembler.add(KEY, chance.getrandbits(64), chance.randbytes(chance.randrange(40))) is None
        except wire.PacketError:
            continue


def ipv4(sender: bytes, target: bytes, source: str, destination: str, protocol: int, transport: bytes) -> bytes:
    addresses = bytes(int(n) for n in source.split(".")) + bytes(int(n) for n in destination.split("."))
    head = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(transport), 1, 0, 64, protocol, 0) + addresses
    return target + sender + b"\x08\x00" + head + transport


class Pair:
    """Two members of one network with given rules, as each of them sees it (without devices)."""

    def __init__(self, rules: list[dict[str, Any]], tags: tuple[int, int] = (1, 2)) -> None:
        identities = [Identity.generate(), Identity.generate()]
        self.addresses = [identity.address for identity in identities]
        self.macs = [node_mac(address, NETWORK) for address in self.addresses]
        members = [
            [identity.address, identity.public.hex(), [f"10.0.0.{number + 1}"], [[1, tags[number]]], []]
            for number, identity in enumerate(identities)
        ]
        self.sides = []
        for number, address in enumerate(self.addresses):
            config = {
                "nwid": f"{NETWORK:016x}",
                "sequence": 1,
                "key": "ab" * 32,
                "name": "",
                "revision": 1,
                "mtu": 2800,
                "multicastLimit": 32,
                "enableBroadcast": True,
                "private": True,
                "routes": [],
                "dns": [],
                "rules": rules,
                "capabilities": [],
                "bridge": False,
                "addresses": [f"10.0.0.{number + 1}/24"],
                "members": members,
            }
            assert is_sound(config)
            side = Membership(NETWORK, address, Allow(), print)
            assert side.accept(config, lambda address, public: KEY)
            self.sides.append(side)

    def frame(self, protocol: int = 6, source: str = "10.0.0.1", port: int = 80, flags: int = 2) -> bytes:
        transport = struct.pack("!HHIIBBHHH", 4000, port, 0, 0, 0x50, flags, 0, 0, 0)
        return ipv4(self.macs[0], self.macs[1], source, "10.0.0.2", protocol, transport)

    def passes(self, frame: bytes) -> tuple[bool, bool]:
        """Whether the sender lets it out and whether the receiver lets it in."""
        sender = self.sides[1].members[self.addresses[0]]
        out = self.addresses[1] in [member.address for member in self.sides[0].outgoing(frame)]
        return out, self.sides[1].incoming(frame, sender)


ACCEPT: dict[str, Any] = {"type": "ACTION_ACCEPT"}
TO_PORT_80: list[dict[str, Any]] = [
    {"type": "MATCH_IP_DEST_PORT_RANGE", "not": False, "or": False, "start": 80, "end": 80},
    ACCEPT,
]


def test_rules_are_evaluated_on_both_ends_for_every_frame() -> None:
    pair = Pair(TO_PORT_80)
    for port, expected in ((80, True), (81, False), (80, True), (443, False)):
        assert pair.passes(pair.frame(port=port)) == (expected, expected)


def test_what_rules_can_see_is_never_taken_from_an_earlier_frame() -> None:
    """Frames that differ in one visible thing each: the verdict on one must not serve for another."""
    acknowledged = {"type": "MATCH_CHARACTERISTICS", "not": False, "or": False, "mask": "0000000000000010"}
    pair = Pair([acknowledged, ACCEPT])
    assert pair.passes(pair.frame(flags=0x10)) == (True, True)
    assert pair.passes(pair.frame(flags=0x02)) == (False, False)
    udp = Pair([{"type": "MATCH_IP_PROTOCOL", "not": False, "or": False, "ipProtocol": 17}, ACCEPT])
    assert udp.passes(udp.frame(protocol=6)) == (False, False)
    assert udp.passes(udp.frame(protocol=17)) == (True, True)
    sized = Pair([{"type": "MATCH_FRAME_SIZE_RANGE", "not": False, "or": False, "start": 0, "end": 100}, ACCEPT])
    assert sized.passes(sized.frame()) == (True, True)
    assert sized.passes(sized.frame() + bytes(200)) == (False, False)


def test_unassigned_source_address_is_not_authenticated() -> None:
    authenticated = {"type": "MATCH_CHARACTERISTICS", "not": True, "or": False, "mask": "1000000000000000"}
    pair = Pair([authenticated, {"type": "ACTION_DROP"}, ACCEPT])
    assert pair.passes(pair.frame(source="10.0.0.1")) == (True, True)
    assert pair.passes(pair.frame(source="10.0.0.9")) == (False, False)


def test_frames_with_a_foreign_mac_do_not_pass() -> None:
    pair = Pair([ACCEPT])
    frame = pair.frame()
    assert pair.passes(frame) == (True, True)
    assert pair.passes(frame[:6] + b"\x02" * 6 + frame[12:]) == (False, False)
    assert pair.passes(b"\x02" * 6 + frame[6:]) == (False, False)


def test_arp_for_a_member_goes_to_that_member_only() -> None:
    pair = Pair([ACCEPT])
    arp = b"\0\1\x08\0\6\4\0\1" + pair.macs[0] + bytes((10, 0, 0, 1)) + bytes(6)
    head = b"\xff" * 6 + pair.macs[0] + b"\x08\x06"
    known = pair.sides[0].outgoing(head + arp + bytes((10, 0, 0, 2)))
    assert [member.address for member in known] == [pair.addresses[1]]
    assert pair.sides[0].outgoing(head + arp + bytes((10, 0, 0, 1))) == []


def test_truncated_and_random_frames_raise_nothing() -> None:
    pair, chance = Pair(TO_PORT_80), random.Random(4)
    frame = pair.frame()
    for size in range(len(frame)):
        pair.passes(frame[:size])
    for _ in range(500):
        pair.passes(frame[:14] + chance.randbytes(chance.randrange(80)))
        pair.passes(frame[:12] + b"\x86\xdd" + chance.randbytes(chance.randrange(80)))
        pair.passes(frame[:12] + b"\x08\x06" + chance.randbytes(chance.randrange(40)))


def test_revoked_member_neither_sends_nor_takes() -> None:
    pair = Pair([ACCEPT])
    frame = pair.frame()
    sender = pair.sides[1].members[pair.addresses[0]]
    pair.sides[0].revoke()
    pair.sides[1].revoke()
    assert pair.sides[0].outgoing(frame) == []
    assert not pair.sides[1].incoming(frame, sender)


def test_an_older_configuration_is_not_taken() -> None:
    pair = Pair([ACCEPT])
    side = pair.sides[0]
    assert side.config is not None
    older = {**side.config, "sequence": 0, "rules": []}
    assert not side.accept(older, lambda address, public: KEY)
    assert side.config["rules"] == [ACCEPT]


@pytest.mark.parametrize("text", ["", "{}", "[]", "null", '{"rules":5}', '{"rules":[],"capabilities":[{}]}'])
def test_unsound_configurations_are_recognised(text: str) -> None:
    try:
        assert not is_sound(load(text.encode()))
    except JsonError:
        assert text == ""
