"""The filters as a template uses them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible.errors import AnsibleFilterError

from .conftest import DATA, ROOT, load

RULES = load("filter_plugins", "zerotier_rules").FilterModule().filters()
ADDRESSES = load("filter_plugins", "zerotier_addresses").FilterModule().filters()
ALL = {**RULES, **ADDRESSES}
SOURCE = """tag role id 1 enum 1 app enum 2 gateway ;
cap admin id 9 accept dport 22; ;
accept ipprotocol tcp and dport 8001
  and tseq role gateway and treq role app;
drop ethertype arp;
"""
REQUEST = {"protocol": "tcp", "source": "10.0.0.1", "destination": "10.0.0.2", "destination_port": 8001}
GATEWAY, APP = {"tags": {"1": 2}}, {"tags": {"1": 1}}


def test_a_source_is_compiled() -> None:
    compiled = RULES["zerotier_compile_rules"]((DATA / "rules" / "tags.ztrules").read_text())
    official = json.loads((DATA / "rules" / "tags.json").read_text())
    assert compiled["rules"] == official["config"]["rules"]
    assert compiled["tags_by_name"] == official["tagsByName"]


def explain(packet: dict[str, Any], sender: dict[str, Any], receiver: dict[str, Any]) -> dict[str, Any]:
    result: dict[str, Any] = RULES["zerotier_explain"](
        RULES["zerotier_compile_rules"](SOURCE), packet, sender, receiver
    )
    return result


def test_an_accepted_packet_names_the_rule_and_its_line() -> None:
    verdict = explain(REQUEST, GATEWAY, APP)
    assert (verdict["delivered"], verdict["decided_by"]) == (True, "receiver")
    assert (verdict["receiver"]["rule"], verdict["receiver"]["line"]) == (4, 3)
    assert [rule["type"] for rule in verdict["receiver"]["rules"]][-2:] == ["MATCH_TAG_RECEIVER", "ACTION_ACCEPT"]


def test_a_packet_that_nothing_accepts_is_dropped_by_the_sender() -> None:
    verdict = explain({**REQUEST, "destination_port": 22}, GATEWAY, APP)
    assert (verdict["delivered"], verdict["decided_by"]) == (False, "sender")
    assert (verdict["sender"]["rule"], verdict["receiver"]) == (None, {})
    assert explain({"ethertype": "arp"}, GATEWAY, APP)["sender"]["line"] == 5


def test_a_capability_is_named() -> None:
    verdict = explain({**REQUEST, "destination_port": 22}, {**GATEWAY, "capabilities": [9]}, APP)
    assert (verdict["delivered"], verdict["receiver"]["capability"]) == (True, 9)


@pytest.mark.parametrize(
    ("packet", "sender", "message"),
    [
        ({"colour": "red"}, GATEWAY, "colour is none of"),
        ({"protocol": "tpc"}, GATEWAY, "'tpc' is no number and no known name"),
        ({"source": "ten"}, GATEWAY, "ten"),
        ({"tcp_flags": ["sin"]}, GATEWAY, "'sin' is none of"),
        ({"size": True}, GATEWAY, "size"),
        (REQUEST, {"tags": {"role": 1}}, "role"),
        (REQUEST, {"capabilities": [5]}, "no capability 5"),
        (REQUEST, {"tag": {}}, "tag is none of"),
    ],
)
def test_what_cant_be_explained_is_an_error(packet: dict[str, Any], sender: dict[str, Any], message: str) -> None:
    with pytest.raises(AnsibleFilterError, match=f"zerotier_explain: .*{message}"):
        explain(packet, sender, APP)


def test_errors_name_the_filter() -> None:
    with pytest.raises(AnsibleFilterError, match="zerotier_compile_rules: line 1, column 8"):
        RULES["zerotier_compile_rules"]("accept foo;")
    with pytest.raises(AnsibleFilterError, match="zerotier_6plane"):
        ADDRESSES["zerotier_6plane"]("nonsense", "8056c2e21c000001")
    with pytest.raises(AnsibleFilterError, match="zerotier_assign_addresses"):
        ADDRESSES["zerotier_assign_addresses"](["a", "a"], "10.0.0.0/24")


def test_addresses() -> None:
    assert ADDRESSES["zerotier_slot_addresses"]("10.242.0.0/16", 2) == ["10.242.0.11", "10.242.0.12"]
    assert ADDRESSES["zerotier_address"]("10.242.0.0/16", 2) == "10.242.0.2"
    assert ADDRESSES["zerotier_community_range"]("10.242.0.0/16", 1) == "10.242.1.0/24"
    assert ADDRESSES["zerotier_rfc4193"]("efcc1b0947", "8056c2e21c000001").startswith("fd80:56c2")
    assert ADDRESSES["zerotier_assign_addresses"](["b"], "10.0.0.0/24", existing={"a": "10.0.0.1"}) == {"b": "10.0.0.2"}


@pytest.mark.parametrize("name", sorted(ALL))
def test_every_filter_is_documented(name: str) -> None:
    document = yaml.safe_load(Path(ROOT / "filter_plugins" / f"{name}.yml").read_text())
    options = document["DOCUMENTATION"]["options"]
    code = ALL[name].__code__
    arguments = list(code.co_varnames[1 : code.co_argcount])
    assert document["DOCUMENTATION"]["positional"].split(", ") == arguments
    assert [option for option in options if option != "_input"] == arguments
    assert {"EXAMPLES", "RETURN"} <= set(document)
