"""The evaluator decides as the node's own filter does, its oddities included."""

from __future__ import annotations

import ipaddress
import json
import random
from typing import Any

import pytest
from ansible.module_utils.zerotier_rule_compiler import compile_rules
from ansible.module_utils.zerotier_rules import (
    TCP_ACK,
    TCP_SYN,
    Copy,
    Packet,
    RuleError,
    RuleSet,
    canonical_rule,
    canonical_rules,
    evaluate,
    evaluate_path,
)
from hypothesis import given, settings
from hypothesis import strategies as st

from .conftest import DATA

SENDER, RECEIVER, OTHER = "aaaaaaaaaa", "bbbbbbbbbb", "cccccccccc"


def packet(**fields: Any) -> Packet:
    for name in ("ip_source", "ip_destination"):
        if isinstance(fields.get(name), str):
            fields[name] = ipaddress.ip_address(fields[name])
    return Packet(**{"zt_source": SENDER, "zt_destination": RECEIVER, **fields})


def tcp(**fields: Any) -> Packet:
    return packet(
        **{
            "ip_source": "10.1.0.1",
            "ip_destination": "10.1.0.2",
            "ip_protocol": 6,
            "ip_tos": 0,
            "source_port": 40000,
            "destination_port": 80,
            "tcp_flags": TCP_SYN,
            **fields,
        }
    )


ARP = packet(ethertype=0x0806)
PING = packet(ip_source="10.1.0.1", ip_destination="10.1.0.2", ip_protocol=1, ip_tos=0, icmp_type=8, icmp_code=0)
PING6 = packet(
    ethertype=0x86DD,
    ip_source="fd00::1",
    ip_destination="fd00::2",
    ip_protocol=58,
    ip_tos=0,
    icmp_type=128,
    icmp_code=0,
)
FRAGMENT_PROTOCOL = packet(ip_source="10.1.0.1", ip_destination="10.1.0.2", ip_protocol=47, ip_tos=0)


@pytest.mark.parametrize(
    ("match", "seen", "matches"),
    [
        ("ethertype arp", ARP, True),
        ("not ethertype arp", ARP, False),
        ("ztsrc aaaaaaaaaa", ARP, True),
        ("ztdest aaaaaaaaaa", ARP, False),
        ("vlan 5", packet(vlan=5), True),
        ("vlanpcp 0", ARP, True),
        ("vlanpcp 1", ARP, False),
        ("macsrc 02:00:00:00:00:01", packet(mac_source="02:00:00:00:00:01"), True),
        ("macdest 02:00:00:00:00:01", packet(mac_source="02:00:00:00:00:01"), False),
        ("ipsrc 10.1.0.0/16", tcp(), True),
        ("ipsrc 10.1.9.9/16", tcp(), True),
        ("ipdest 10.2.0.0/16", tcp(), False),
        ("not ipdest 10.2.0.0/16", tcp(), True),
        ("not ipdest 10.2.0.0/16", ARP, False),  # a match that doesn't apply fails with not as well
        ("ipsrc 0.0.0.0/0", tcp(), True),
        ("ipsrc fd00::/8", PING6, True),
        ("ipsrc fd00::/8", tcp(), False),
        ("ipdest ::/0", PING6, True),
        ("ipprotocol tcp", tcp(), True),
        ("not ipprotocol tcp", ARP, False),
        ("iptos 0xfc 0x10-0x20", tcp(ip_tos=0x1B), True),
        ("iptos 0xff 0x10-0x20", tcp(ip_tos=0x21), False),
        ("icmp 8 -1", PING, True),
        ("icmp 8 1", PING, False),
        ("icmp 128 0", PING6, True),
        ("not icmp 8 -1", PING, True),  # the node's own: a type that fits without a code matches even with not
        ("not icmp 0 -1", PING, False),
        ("not icmp 8 1", PING, True),
        ("dport 80", tcp(), True),
        ("dport 81-90", tcp(), False),
        ("sport 40000-40001", tcp(), True),
        ("not dport 80", FRAGMENT_PROTOCOL, True),  # no port isn't this port
        ("not dport 80", ARP, False),
        ("dport 0", tcp(destination_port=0), True),
        ("dport 0", tcp(destination_port=0, ethertype=0x86DD, ip_destination="fd00::2", ip_source="fd00::1"), False),
        ("chr tcp_syn", tcp(), True),
        ("chr tcp_ack", tcp(), False),
        ("chr tcp_syn,tcp_ack", tcp(), True),
        ("not chr tcp_ack", ARP, True),
        ("chr ipauth", tcp(), True),
        ("not chr ipauth", tcp(ip_authenticated=False), True),
        ("chr macauth", tcp(), False),
        ("chr multicast", packet(mac_destination="01:00:5e:00:00:01"), True),
        ("chr broadcast", packet(mac_destination="ff:ff:ff:ff:ff:ff"), True),
        ("chr multicast", packet(mac_destination="ff:ff:ff:ff:ff:ff"), True),
        ("chr multicast", packet(mac_destination="02:00:00:00:00:01"), False),
        ("framesize 60-64", packet(size=64), True),
        ("framesize 65-100", packet(size=64), False),
    ],
)
def test_one_match(match: str, seen: Packet, matches: bool) -> None:
    rules = compile_rules(f"accept {match};").rules
    assert evaluate(rules, seen, sender_tags={}, receiver_tags={}).accepted is matches


def test_inbound_is_a_characteristic_of_the_receivers_side_only() -> None:
    rules = RuleSet(compile_rules("accept chr inbound;").rules)
    assert not rules.evaluate(ARP, sender_tags={}, receiver_tags={}).accepted
    assert rules.evaluate(ARP, sender_tags={}, receiver_tags={}, inbound=True).accepted


def test_an_ipv6_network_with_host_bits_matches_nothing_and_an_ipv4_one_everything_in_it() -> None:
    six = [{"type": "MATCH_IPV6_SOURCE", "ip": "fd00::1/64"}, {"type": "ACTION_ACCEPT"}]
    four = [{"type": "MATCH_IPV4_SOURCE", "ip": "10.1.0.9/16"}, {"type": "ACTION_ACCEPT"}]
    assert not evaluate(six, PING6, sender_tags={}, receiver_tags={}).accepted
    assert evaluate(four, tcp(), sender_tags={}, receiver_tags={}).accepted


@pytest.mark.parametrize(
    ("source", "seen", "action", "rule"),
    [
        ("", ARP, "drop", None),
        ("accept;", ARP, "accept", 0),
        ("drop;", ARP, "drop", 0),
        ("accept ethertype ipv4;", ARP, "drop", None),
        ("drop not ethertype ipv4 and not ethertype arp;\naccept;", ARP, "accept", 3),
        ("drop not ethertype ipv4 and not ethertype arp;\naccept;", PING6, "drop", 2),
        ("accept dport 80 or ethertype arp;", ARP, "accept", 2),
        ("accept dport 80 or dport 81;", tcp(), "accept", 2),
        ("accept dport 81 and ethertype ipv4 or sport 40000;", tcp(), "accept", 3),
        ("break ethertype arp;\naccept;", ARP, "drop", None),
    ],
)
def test_sets_of_rules(source: str, seen: Packet, action: str, rule: int | None) -> None:
    verdict = evaluate(compile_rules(source).rules, seen, sender_tags={}, receiver_tags={})
    assert (verdict.action, verdict.rule) == (action, rule)


def test_a_verdict_names_the_matches_that_decided() -> None:
    verdict = evaluate(
        compile_rules("drop ethertype arp;\naccept ipprotocol tcp and dport 80;").rules,
        tcp(),
        sender_tags={},
        receiver_tags={},
    )
    assert (verdict.first_rule, verdict.rule) == (2, 4)


def test_missing_not_and_or_are_false() -> None:
    bare = [{"type": "MATCH_ETHERTYPE", "etherType": 0x0806}, {"type": "ACTION_ACCEPT"}]
    assert evaluate(bare, ARP, sender_tags={}, receiver_tags={}).accepted


SAME = {1: 7}


@pytest.mark.parametrize(
    ("match", "sender", "receiver", "outbound", "inbound"),
    [
        ("tseq 1 7", {1: 7}, {}, True, True),
        ("tseq 1 7", {1: 8}, {}, False, False),
        ("tseq 1 7", {}, {}, False, False),
        ("not tseq 1 7", {}, {}, False, False),
        ("not tseq 1 7", {1: 8}, {}, True, True),
        ("treq 1 7", {}, {1: 7}, True, True),
        ("treq 1 7", {}, {1: 8}, False, False),
        ("treq 1 7", {}, {}, True, False),  # the sender can't be strict about what it doesn't know
        ("not treq 1 7", {}, {}, True, False),
        ("tdiff 1 0", {1: 7}, {1: 7}, True, True),
        ("tdiff 1 0", {1: 7}, {1: 8}, False, False),
        ("tdiff 1 2", {1: 9}, {1: 7}, True, True),
        ("tdiff 1 0", {}, {1: 7}, False, False),
        ("tdiff 1 0", {1: 7}, {}, True, False),
        ("not tdiff 1 0", {1: 7}, {1: 7}, False, False),
        ("not tdiff 1 0", {1: 7}, {}, True, False),
        ("tand 1 1", {1: 3}, {1: 5}, True, True),
        ("tor 1 7", {1: 3}, {1: 5}, True, True),
        ("txor 1 6", {1: 3}, {1: 5}, True, True),
        ("teq 1 3", {1: 3}, {1: 3}, True, True),
        ("teq 1 3", {1: 3}, {1: 5}, False, False),
    ],
)
def test_tags(match: str, sender: dict[int, int], receiver: dict[int, int], outbound: bool, inbound: bool) -> None:
    rules = RuleSet(compile_rules(f"accept {match};").rules)
    decided = tuple(
        rules.evaluate(ARP, sender_tags=sender, receiver_tags=receiver, inbound=side).accepted for side in (False, True)
    )
    assert decided == (outbound, inbound)


def test_a_drop_is_skipped_once_when_the_receivers_tag_is_unknown() -> None:
    rules = RuleSet(compile_rules("drop treq 1 7;\ndrop ethertype arp;\naccept;").rules)
    verdict = rules.evaluate(ARP, sender_tags={}, receiver_tags=None)
    assert (verdict.action, verdict.rule, verdict.lenient) == ("drop", 3, True)
    only = RuleSet(compile_rules("drop treq 1 7;\naccept;").rules)
    assert only.evaluate(ARP, sender_tags={}, receiver_tags=None).accepted


def test_drop_unless_same_community_fails_open_at_the_sender_and_closed_at_the_receiver() -> None:
    rules = RuleSet(compile_rules("drop not tdiff 2 0;\naccept;").rules)
    path = evaluate_path(rules, ARP, sender_tags={2: 1}, receiver_tags={2: 5}, first_contact=True)
    assert path.outbound.accepted
    assert path.outbound.lenient
    assert path.inbound is not None
    assert path.inbound.action == "drop"
    assert not path.delivered


def test_capabilities_count_after_the_base_rules_and_their_drops_only_end_themselves() -> None:
    base = compile_rules("drop ethertype arp;\nbreak ethertype ipv6;").rules
    closed = compile_rules("drop;").rules
    web = compile_rules("accept ipprotocol tcp and dport 80;").rules
    verdict = evaluate(base, tcp(), sender_tags={}, receiver_tags={}, capabilities=[closed, web])
    assert (verdict.action, verdict.capability, verdict.rule) == ("accept", 1, 2)
    assert not evaluate(
        base, ARP, sender_tags={}, receiver_tags={}, capabilities=[[{"type": "ACTION_ACCEPT"}]]
    ).accepted
    assert not evaluate(base, tcp(), sender_tags={}, receiver_tags={}, capabilities=[closed]).accepted


def test_tee_and_watch_copy_what_is_accepted() -> None:
    rules = compile_rules(f"watch 16 {OTHER} ethertype ipv4;\naccept;").rules
    verdict = evaluate(rules, tcp(size=100), sender_tags={}, receiver_tags={})
    assert verdict.copies == (Copy(OTHER, 16, watch=True),)
    whole = compile_rules(f"tee 0 {OTHER};\naccept;").rules
    assert evaluate(whole, tcp(size=100), sender_tags={}, receiver_tags={}).copies == (Copy(OTHER, 100, watch=False),)
    dropped = compile_rules(f"tee 0 {OTHER} ethertype ipv4;\ndrop;").rules
    assert evaluate(dropped, tcp(), sender_tags={}, receiver_tags={}).copies == ()


@pytest.mark.parametrize("target", [SENDER, RECEIVER])
def test_a_redirect_to_an_end_of_the_packet_does_nothing_at_the_sender(target: str) -> None:
    rules = compile_rules(f"redirect {target} ethertype arp;\naccept;").rules
    assert evaluate(rules, ARP, sender_tags={}, receiver_tags={}).action == "accept"


def test_a_redirect_sends_elsewhere_and_its_target_accepts() -> None:
    rules = RuleSet(compile_rules(f"redirect {OTHER} ethertype arp;\ndrop;").rules)
    verdict = rules.evaluate(ARP, sender_tags={}, receiver_tags={})
    assert (verdict.action, verdict.redirect_to) == ("redirect", OTHER)
    arrived = rules.evaluate(ARP, sender_tags={}, receiver_tags={}, inbound=True, local_address=OTHER)
    assert (arrived.action, arrived.super_accept) == ("accept", True)


def test_the_target_of_a_tee_accepts_whatever_the_tags() -> None:
    rules = RuleSet(compile_rules(f"tee 0 {OTHER} tseq 1 5;\naccept tseq 1 5;").rules)
    at_target = rules.evaluate(ARP, sender_tags={1: 6}, receiver_tags={}, inbound=True, local_address=OTHER)
    assert (at_target.action, at_target.super_accept) == ("accept", True)
    elsewhere = rules.evaluate(ARP, sender_tags={1: 6}, receiver_tags={}, inbound=True)
    assert elsewhere.action == "drop"


def test_random_takes_its_numbers_from_outside() -> None:
    numbers = iter([0, 2**31, 2**32 - 1])
    rules = RuleSet(compile_rules("accept random 0.5;").rules, random32=lambda: next(numbers))
    decided = [rules.evaluate(ARP, sender_tags={}, receiver_tags={}).accepted for _ in range(3)]
    assert decided == [True, False, False]


@pytest.mark.parametrize("kind", ["BOGUS", "INTEGER_RANGE", "ACTION_PRIORITY", None])
def test_a_rule_that_no_controller_keeps_is_refused(kind: str | None) -> None:
    with pytest.raises(RuleError, match="rule 1"):
        RuleSet([{"type": "ACTION_BREAK"}, {"type": kind}])


TENANTS = RuleSet(json.loads((DATA / "rules" / "tenants.json").read_text())["config"]["rules"])
APP, GATEWAY_A, GATEWAY_B, OPS = {1: 1}, {1: 2, 2: 1}, {1: 2, 2: 2}, {1: 3}
REQUEST = tcp(destination_port=8000)
REPLY = tcp(source_port=8000, destination_port=40000, tcp_flags=TCP_SYN | TCP_ACK)


@pytest.mark.parametrize(
    ("seen", "sender", "receiver", "delivered"),
    [
        (REQUEST, GATEWAY_A, APP, True),
        (REPLY, APP, GATEWAY_A, True),
        (tcp(source_port=8000, destination_port=40000), APP, GATEWAY_A, False),
        (REQUEST, GATEWAY_A, GATEWAY_B, False),
        (ARP, GATEWAY_A, GATEWAY_B, False),
        (ARP, GATEWAY_A, APP, True),
        (PING, GATEWAY_A, APP, True),
        (PING, GATEWAY_A, GATEWAY_B, False),
        (PING6, GATEWAY_A, APP, False),
        (tcp(destination_port=22), GATEWAY_A, APP, False),
        (tcp(destination_port=22), OPS, GATEWAY_B, True),
        (tcp(destination_port=22), GATEWAY_B, OPS, False),
        (tcp(destination_port=8000, ip_authenticated=False), GATEWAY_A, APP, False),
        (REQUEST, {}, APP, False),
        (REQUEST, GATEWAY_A, {}, False),
    ],
)
def test_the_ruleset_that_isolates_communities(
    seen: Packet, sender: dict[int, int], receiver: dict[int, int], delivered: bool
) -> None:
    assert evaluate_path(TENANTS, seen, sender_tags=sender, receiver_tags=receiver).delivered is delivered


# Frames


def _ethernet(ethertype: int, payload: bytes, destination: str = "020000000002") -> bytes:
    return bytes.fromhex(destination) + bytes.fromhex("020000000001") + ethertype.to_bytes(2, "big") + payload


def _ipv4(protocol: int, payload: bytes, options: bytes = b"") -> bytes:
    header = bytes([0x45 + len(options) // 4, 0xB8, 0, 0, 0, 0, 0, 0, 64, protocol, 0, 0])
    return (
        header + ipaddress.ip_address("10.1.0.1").packed + ipaddress.ip_address("10.1.0.2").packed + options + payload
    )


def _ipv6(following: int, payload: bytes) -> bytes:
    header = bytes([0x6B, 0x80, 0, 0, 0, 0, following, 64])
    return header + ipaddress.ip_address("fd00::1").packed + ipaddress.ip_address("fd00::2").packed + payload


TCP_HEADER = (40000).to_bytes(2, "big") + (80).to_bytes(2, "big") + bytes(8) + bytes([0x50, 0x12]) + bytes(6)


@pytest.mark.parametrize(
    ("frame", "fields"),
    [
        (
            _ethernet(0x0800, _ipv4(6, TCP_HEADER)),
            {
                "ip_protocol": 6,
                "source_port": 40000,
                "destination_port": 80,
                "tcp_flags": 0x12,
                "ip_tos": 0xB8,
                "size": 40,
            },
        ),
        (_ethernet(0x0800, _ipv4(6, TCP_HEADER, bytes(8))), {"destination_port": 80, "tcp_flags": 0x12}),
        (_ethernet(0x0800, _ipv4(1, bytes([8, 3]))), {"ip_protocol": 1, "icmp_type": 8, "icmp_code": 3}),
        (_ethernet(0x0800, _ipv4(17, bytes(3))), {"ip_protocol": 17, "source_port": None, "destination_port": None}),
        (_ethernet(0x0800, bytes(19)), {"ip_protocol": None, "ip_source": None, "size": 19}),
        (_ethernet(0x86DD, _ipv6(6, TCP_HEADER)), {"ip_protocol": 6, "destination_port": 80, "ip_tos": 0xB8}),
        (_ethernet(0x86DD, _ipv6(0, bytes([6, 0]) + bytes(6) + TCP_HEADER)), {"ip_protocol": 6}),
        (_ethernet(0x86DD, _ipv6(0, bytes([6, 255]))), {"ip_protocol": None}),
        (_ethernet(0x86DD, _ipv6(58, bytes([128, 0]) + bytes(6))), {"icmp_type": 128, "icmp_code": 0}),
        (_ethernet(0x0806, bytes(28), "ffffffffffff"), {"multicast": True, "broadcast": True, "ip_protocol": None}),
        (_ethernet(0x0806, bytes(28), "01005e000001"), {"multicast": True, "broadcast": False}),
        (_ethernet(0x88CC, b""), {"ethertype": 0x88CC, "size": 0, "ip_authenticated": False}),
    ],
)
def test_what_is_read_from_a_frame(frame: bytes, fields: dict[str, Any]) -> None:
    read = Packet.from_ethernet(frame, zt_source=SENDER, zt_destination=RECEIVER)
    assert {name: getattr(read, name) for name in fields} == fields


def _neighbour(kind: int, target: str) -> bytes:
    return _ethernet(0x86DD, _ipv6(58, bytes([kind, 0]) + bytes(6) + ipaddress.ip_address(target).packed))


@pytest.mark.parametrize(
    ("frame", "owned", "authenticated"),
    [
        (_ethernet(0x0800, _ipv4(6, TCP_HEADER)), ["10.1.0.1"], True),
        (_ethernet(0x0800, _ipv4(6, TCP_HEADER)), ["10.1.0.2"], False),
        (_ethernet(0x0806, bytes(14) + ipaddress.ip_address("10.1.0.1").packed + bytes(10)), ["10.1.0.1"], True),
        (_ethernet(0x0806, bytes(28)), ["10.1.0.1"], False),
        (_neighbour(0x87, "fd00::9"), [], True),
        (_neighbour(0x88, "fd00::9"), ["fd00::9"], True),
        (_neighbour(0x88, "fd00::9"), ["fd00::1"], False),
        (_ethernet(0x86DD, _ipv6(6, TCP_HEADER)), ["fd00::1"], True),
    ],
)
def test_the_source_address_is_authenticated_when_the_sender_owns_it(
    frame: bytes, owned: list[str], authenticated: bool
) -> None:
    read = Packet.from_ethernet(
        frame,
        zt_source=SENDER,
        zt_destination=RECEIVER,
        sender_addresses={ipaddress.ip_address(address) for address in owned},
    )
    assert read.ip_authenticated is authenticated


@given(st.binary(min_size=14, max_size=120), st.sampled_from([0x0800, 0x86DD, 0x0806]))
def test_any_frame_is_read_and_decided(content: bytes, ethertype: int) -> None:
    frame = content[:12] + ethertype.to_bytes(2, "big") + content[14:]
    read = Packet.from_ethernet(frame, zt_source=SENDER, zt_destination=RECEIVER, sender_addresses=set())
    assert TENANTS.evaluate(read, sender_tags={}, receiver_tags={}).action in ("accept", "drop")


def test_a_frame_without_a_whole_header_is_refused() -> None:
    with pytest.raises(ValueError, match="14 bytes"):
        Packet.from_ethernet(bytes(13), zt_source=SENDER, zt_destination=RECEIVER)


# Properties


def _match(kind: str, field: str, values: list[Any], **more: int) -> st.SearchStrategy[dict[str, Any]]:
    return st.builds(
        lambda negate, value: {"type": kind, field: value, "not": negate, **more},
        st.booleans(),
        st.sampled_from(values),
    )


MATCHES = st.one_of(
    _match("MATCH_ETHERTYPE", "etherType", [0x0800, 0x0806]),
    _match("MATCH_IP_DEST_PORT_RANGE", "start", [75, 90], end=90),
    _match("MATCH_TAG_SENDER", "value", [0, 1, 2], id=1),
    _match("MATCH_CHARACTERISTICS", "mask", ["2", "10", "1000000000000000"]),
)
ACTIONS = st.sampled_from([{"type": "ACTION_ACCEPT"}, {"type": "ACTION_DROP"}, {"type": "ACTION_BREAK"}])
BLOCKS = st.tuples(st.lists(MATCHES, max_size=4), ACTIONS).map(lambda block: [*block[0], block[1]])
PACKETS = st.sampled_from([ARP, PING, PING6, tcp(), tcp(tcp_flags=TCP_ACK, ip_authenticated=False)])


def _decide(rules: list[dict[str, Any]], seen: Packet) -> str:
    return str(evaluate(rules, seen, sender_tags={1: 1}, receiver_tags={1: 2}).action)


@settings(max_examples=200)
@given(st.lists(BLOCKS, max_size=5), PACKETS)
def test_rules_after_the_deciding_one_change_nothing(blocks: list[list[dict[str, Any]]], seen: Packet) -> None:
    rules = [rule for block in blocks for rule in block]
    verdict = evaluate(rules, seen, sender_tags={1: 1}, receiver_tags={1: 2})
    if verdict.rule is not None:
        assert _decide(rules[: verdict.rule + 1], seen) == verdict.action
        assert _decide([*rules, {"type": "ACTION_ACCEPT"}], seen) == verdict.action


@settings(max_examples=200)
@given(st.lists(MATCHES, min_size=1, max_size=4), PACKETS, st.randoms(use_true_random=False))
def test_the_order_of_matches_within_an_and_makes_no_difference(
    matches: list[dict[str, Any]], seen: Packet, shuffler: random.Random
) -> None:
    shuffled = list(matches)
    shuffler.shuffle(shuffled)
    accept = {"type": "ACTION_ACCEPT"}
    assert _decide([*matches, accept], seen) == _decide([*shuffled, accept], seen)


@settings(max_examples=200)
@given(st.lists(MATCHES, min_size=2, max_size=4), PACKETS)
def test_an_or_of_matches_accepts_what_any_of_them_accepts(matches: list[dict[str, Any]], seen: Packet) -> None:
    accept = {"type": "ACTION_ACCEPT"}
    alternatives = [matches[0], *({**match, "or": True} for match in matches[1:])]
    each = [_decide([match, accept], seen) for match in matches]
    assert _decide([*alternatives, accept], seen) == ("accept" if "accept" in each else "drop")


FIELDS = ["type", "not", "or", "id", "value", "start", "end", "mask", "ip", "mac", "zt", "etherType"]
VALUES = st.one_of(
    st.none(), st.booleans(), st.integers(-5, 2**40), st.text(max_size=12), st.lists(st.integers(), max_size=2)
)
KINDS = [
    "MATCH_TAG_SENDER",
    "MATCH_IPV4_DEST",
    "MATCH_MAC_DEST",
    "MATCH_CHARACTERISTICS",
    "MATCH_ICMP",
    "ACTION_TEE",
]


@given(st.dictionaries(st.sampled_from(FIELDS), VALUES), st.sampled_from(KINDS))
def test_a_canonical_rule_is_its_own_canonical_form(fields: dict[str, Any], kind: str) -> None:
    canonical = canonical_rule({**fields, "type": kind})
    assert canonical is not None
    assert canonical_rules([canonical, {"type": "BOGUS"}, "text", None]) == [canonical]
