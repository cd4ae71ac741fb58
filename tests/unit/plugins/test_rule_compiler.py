"""The compiler gives what ZeroTier's own compiler gives, and refuses what that one takes for something else."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from ansible.module_utils.zerotier_rule_compiler import CHARACTERISTIC_BITS, RuleCompileError, compile_rules
from ansible.module_utils.zerotier_rules import canonical_rules
from hypothesis import given
from hypothesis import strategies as st

from .conftest import DATA

SOURCES = sorted((DATA / "rules").glob("*.ztrules"))
ROLE = "tag role id 1 enum 1 app enum 2 gateway ;\n"


@pytest.mark.parametrize("source", SOURCES, ids=lambda path: path.stem)
def test_the_result_is_that_of_the_official_compiler(source: Path) -> None:
    compiled = compile_rules(source.read_bytes().decode())
    assert compiled.as_dict() == json.loads(source.with_suffix(".json").read_text())


@pytest.mark.parametrize("source", SOURCES, ids=lambda path: path.stem)
def test_a_controller_keeps_every_compiled_rule(source: Path) -> None:
    compiled = compile_rules(source.read_bytes().decode())
    assert len(canonical_rules(compiled.rules)) == len(compiled.rules)


@pytest.mark.parametrize(
    ("source", "line", "column", "message"),
    [
        ("accept ethertype nonsense;", 1, 18, "invalid ethertype"),
        ("\n  drop foo 1;", 2, 8, "'foo' is no match"),
        ("accept;\ndrop ethertype arp;", 2, 1, "must be the last"),
        ("allow ethertype arp;", 1, 1, "no action"),
        ("accept dport;", 1, 8, "needs 1 argument"),
        ("accept ipprotocol icmp;", 1, 8, "needs 1 argument"),
        ("accept dport 80x;", 1, 14, "'80x' is no number"),
        ("accept dport 90-80;", 1, 14, "no number or first-last range"),
        ("accept dport 70000;", 1, 14, "65535"),
        ("accept sport 1-2-3;", 1, 14, "range"),
        ("accept ipsrc 10.0.0.0;", 1, 14, "no /bits"),
        ("accept ipsrc 300.1.1.1/8;", 1, 14, "neither an IPv4 nor an IPv6"),
        ("accept ipsrc 10.0.0.0/33;", 1, 14, "prefix length"),
        ("accept ipsrc 10.0.0.0/255.0.0.0;", 1, 14, "prefix length"),
        ("accept ipdest fd00::1/64;", 1, 15, "host bits"),
        ("accept ztsrc abc;", 1, 14, "10 hexadecimal digits"),
        ("accept macsrc 02:00;", 1, 15, "12 hexadecimal digits"),
        ("accept macsrc 02:00:00:00:00:01:02;", 1, 15, "12 hexadecimal digits"),
        ("accept icmp 256 0;", 1, 13, "ICMP type"),
        ("accept icmp 8 300;", 1, 15, "ICMP code"),
        ("accept iptos 256 0;", 1, 14, "mask"),
        ("accept chr tcp_sin;", 1, 12, "'tcp_sin' is no characteristic"),
        ("accept chr 64;", 1, 12, "no bit from 0 to 63"),
        ("accept chr inbound,multicast;", 1, 12, "two matches with 'or'"),
        ("accept random often;", 1, 15, "probability"),
        ("accept vlan 65536;", 1, 13, "invalid vlan"),
        ("accept tseq role app;", 1, 13, "the tag 'role' isn't defined"),
        (ROLE + "accept tseq role ops;", 2, 18, "no enum of this name"),
        ("accept not;", 1, 8, "no match behind it"),
        ("accept dport $port;", 1, 14, "isn't a parameter"),
        ("tee 128;", 1, 1, "needs a length"),
        ("tee many efcc1b0947;", 1, 5, "no length"),
        ("tee 128 efcc1b094z;", 1, 9, "10 hexadecimal digits"),
        ("redirect;", 1, 1, "needs a ZeroTier address"),
        ("include web", 1, 9, "'web' isn't defined"),
        ("include", 1, 1, "no macro name"),
        ("macro web($port) accept dport $port; ;\ninclude web", 2, 9, "lacks an argument for $port"),
        ("macro a include b ;\nmacro b include a ;\ninclude a", 2, 17, "includes itself"),
        ("macro accept drop; ;", 1, 7, "reserved word"),
        ("macro 1a accept; ;", 1, 7, "no valid macro name"),
        ("macro a accept; ;\nmacro A drop; ;", 2, 7, "defined twice"),
        ("tag role enum 1 app ;", 1, 5, "has no id"),
        ("tag role id 1 id 2 ;", 1, 15, "two ids"),
        ("tag role id -1 ;", 1, 13, "invalid tag id"),
        ("tag role id 1 enum 1 ;", 1, 15, "not a name behind it"),
        ("tag role id 1 color red ;", 1, 15, "means nothing in a tag"),
        ("tag role id 1 enum 1 app enum 2 app ;", 1, 33, "defined twice in this tag"),
        ("tag role id 1 flag 32 big ;", 1, 20, "invalid bit"),
        ("tag role id 1 default apq enum 1 app ;", 1, 23, "no enum, no flag"),
        ("tag role id 1 ;\ntag ROLE id 2 ;", 2, 5, "defined twice"),
        ("tag not id 1 ;", 1, 5, "reserved word"),
        ("cap web accept; ;", 1, 5, "has no id"),
        ("cap a id 1 accept; ;\ncap b id 1 accept; ;", 2, 10, "used twice"),
        ("drop ethertype arp accept", 1, 1, "never closed"),
    ],
)
def test_a_mistake_is_reported_where_it_is(source: str, line: int, column: int, message: str) -> None:
    with pytest.raises(RuleCompileError) as caught:
        compile_rules(source)
    assert message in str(caught.value)
    assert (caught.value.line, caught.value.column) == (line, column)


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("accept ethertype arp;\n" * 600, "1200 rules, nodes take 1024"),
        ("cap web id 1\n" + "accept ethertype arp;\n" * 40 + ";", "80 rules, nodes take 64"),
        ("".join(f"tag t{n} id {n} ;\n" for n in range(129)), "129 tags, nodes take 128"),
    ],
)
def test_more_than_nodes_take_is_refused(source: str, message: str) -> None:
    with pytest.raises(RuleCompileError, match=message):
        compile_rules(source)


def test_every_rule_knows_its_line() -> None:
    compiled = compile_rules("# first\ndrop ethertype arp\n  and dport 5\n;\naccept dport 80;\n")
    assert compiled.rule_lines == [2, 3, 2, 5, 5]


def test_tags_from_outside_can_be_used_by_name() -> None:
    tags = {"role": {"id": 1, "enums": {"app": 7}}, "rights": {"id": 2, "flags": {"read": 4}}}
    compiled = compile_rules("accept tseq role app and tand rights read;", tags)
    assert [(rule.get("id"), rule.get("value")) for rule in compiled.rules] == [(1, 7), (2, 4), (None, None)]
    assert set(compiled.tags_by_name) == {"role", "rights"}


@pytest.mark.parametrize(
    "definition", [{"id": "1"}, {}, {"id": True}, {"id": 1, "enums": {"a": -1}}, {"id": 1, "default": "a"}]
)
def test_a_tag_from_outside_that_cant_be_is_refused(definition: dict[str, object]) -> None:
    with pytest.raises(RuleCompileError, match="tag 'role'"):
        compile_rules("accept;", {"role": definition})


def test_a_flag_may_use_bit_31() -> None:
    compiled = compile_rules("tag t id 1 flag 31 top ;\naccept tand t top;")
    assert compiled.rules[0]["value"] == 1 << 31


@given(st.integers(0, 65535), st.integers(0, 65535))
def test_ranges_keep_their_ends(first: int, second: int) -> None:
    low, high = sorted((first, second))
    rule = compile_rules(f"accept dport {low:#x}-{high};").rules[0]
    assert (rule["start"], rule["end"]) == (low, high)


@given(st.sets(st.sampled_from([name for name in CHARACTERISTIC_BITS if name != "inbound"]), min_size=1))
def test_characteristics_set_exactly_their_bits(names: set[str]) -> None:
    mask = int(compile_rules(f"accept chr {','.join(sorted(names))};").rules[0]["mask"], 16)
    assert mask == sum(1 << CHARACTERISTIC_BITS[name] for name in names)


WORDS = st.sampled_from(
    ["accept", "drop;", ";", "ethertype", "arp;", "tag", "role", "id", "1", "cap", "macro", "not", "include", "#", "$x"]
)


@given(st.lists(st.tuples(WORDS, st.sampled_from([" ", "\n", "\t"])), max_size=25))
def test_whatever_is_written_compiles_or_is_refused_with_a_place(words: list[tuple[str, str]]) -> None:
    source = "".join(word + space for word, space in words)
    try:
        compile_rules(source)
    except RuleCompileError as error:
        assert 1 <= error.line <= source.count("\n") + 1  # noqa: PT017
