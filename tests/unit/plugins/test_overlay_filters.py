"""The filters of the overlay: the wanted members, the member that a name means, and whether two members may talk."""

from __future__ import annotations

from typing import Any

import pytest
import yaml
from ansible.errors import AnsibleFilterError

from .conftest import ROOT, load

MEMBERS = load("filter_plugins", "overlay_members").FilterModule().filters()
ACCESS = load("filter_plugins", "zerotier_rules").FilterModule().filters()["zerotier_explain_access"]
ALL = {**MEMBERS, "zerotier_explain_access": ACCESS}
TAGS = {"role": {"id": 1, "enums": {"app": 1, "gateway": 2, "ops": 3}}, "community": {"id": 2}}
HOSTS: dict[str, Any] = {
    "gateway-a": {"name": "gateway-a", "ip": "10.242.1.1", "tags": {"role": "gateway", "community": 1}},
    "gateway-b": {"name": "gateway-b", "ip": "10.242.1.2", "tags": {"role": "gateway", "community": 2}},
}
SOURCE = (ROOT / "playbooks" / "files" / "overlay.ztrules").read_text()
APP = {"ip": "10.242.0.11", "tags": {"1": 1}}
GATEWAY_A = {"ip": "10.242.1.1", "tags": {"1": 2, "2": 1}}
GATEWAY_B = {"ip": "10.242.1.2", "tags": {"1": 2, "2": 2}}
OPS = {"ip": "10.242.0.2", "tags": {"1": 3}}


def member(address: str, name: str = "", *addresses: str, **settings: Any) -> dict[str, Any]:
    return {"address": address, "name": name, "ip_assignments": list(addresses), "authorized": True, **settings}


A = member("aaaaaaaa01", "gateway-a", "10.242.1.1", tags={"1": 2, "2": 1})
B = member("aaaaaaaa02", "gateway-b", "10.242.1.2", tags={"1": 2, "2": 2})


def test_a_slot_is_a_member_with_its_address_and_no_other_tag_than_its_role() -> None:
    assert MEMBERS["overlay_slot_member"]({"slot": 3, "address": "aaaaaaaa03", "ip": "10.242.0.13"}, TAGS) == {
        "address": "aaaaaaaa03",
        "name": "slot-3",
        "authorized": True,
        "active_bridge": False,
        "no_auto_assign_ips": True,
        "ip_assignments": ["10.242.0.13"],
        "tags": {"role": "app", "community": None},
    }


@pytest.mark.parametrize(
    ("given", "message"),
    [({"name": "a", "ip": "10.0.0.1"}, "needs name, ip and tags"), ({**HOSTS["gateway-a"], "adress": "x"}, "adress")],
)
def test_a_host_that_says_too_little_or_something_unknown_is_refused(given: dict[str, Any], message: str) -> None:
    with pytest.raises(AnsibleFilterError, match=message):
        MEMBERS["overlay_host_member"](given, TAGS)


@pytest.mark.parametrize(
    ("members", "expected"),
    [
        ([A, B], {"gateway-a": "aaaaaaaa01", "gateway-b": "aaaaaaaa02"}),
        # renamed by hand: its address tells
        ([{**A, "name": "x"}, B], {"gateway-a": "aaaaaaaa01", "gateway-b": "aaaaaaaa02"}),
        # addresses exchanged by hand: the names tell
        (
            [{**A, "ip_assignments": ["10.242.1.2"]}, {**B, "ip_assignments": ["10.242.1.1"]}],
            {"gateway-a": "aaaaaaaa01", "gateway-b": "aaaaaaaa02"},
        ),
        # two of the name, one of them with the address
        ([A, B, member("bbbbbbbb01", "gateway-a")], {"gateway-a": "aaaaaaaa01", "gateway-b": "aaaaaaaa02"}),
        ([A], {"gateway-a": "aaaaaaaa01"}),
        ([], {}),
    ],
)
def test_hosts_are_found_among_the_members(members: list[dict[str, Any]], expected: dict[str, str]) -> None:
    matched = MEMBERS["overlay_match_hosts"](HOSTS, members, TAGS)
    assert {entry["name"]: entry["address"] for entry in matched["members"]} == expected
    assert matched["absent"] == [name for name in HOSTS if name not in expected]


def test_a_node_that_the_inventory_names_is_the_host_even_before_it_is_a_member() -> None:
    hosts = {**HOSTS, "gateway-a": {**HOSTS["gateway-a"], "address": "BBBBBBBB01"}}
    matched = MEMBERS["overlay_match_hosts"](hosts, [A, B], TAGS)
    assert {entry["name"]: entry["address"] for entry in matched["members"]} == {
        "gateway-a": "bbbbbbbb01",
        "gateway-b": "aaaaaaaa02",
    }


@pytest.mark.parametrize(
    ("hosts", "members"),
    [
        (HOSTS, [member("bbbbbbbb01", "gateway-a"), member("bbbbbbbb02", "gateway-a")]),
        ({"x": HOSTS["gateway-a"], "y": HOSTS["gateway-a"]}, [A]),
    ],
)
def test_who_could_be_several_is_an_error(hosts: dict[str, Any], members: list[dict[str, Any]]) -> None:
    with pytest.raises(AnsibleFilterError, match="overlay_member"):
        MEMBERS["overlay_match_hosts"](hosts, members, TAGS)


@pytest.mark.parametrize("asked", ["gateway-a", "AAAAAAAA01", "10.242.1.1", " aaaaaaaa01 "])
def test_a_member_is_found_by_name_node_and_overlay_address(asked: str) -> None:
    found = MEMBERS["overlay_find_member"](asked, [A, B], HOSTS, TAGS)
    assert (found["address"], found["tags"], found["member"]) == ("aaaaaaaa01", {"1": 2, "2": 1}, True)


def test_who_is_no_member_yet_has_the_tags_that_it_would_have() -> None:
    found = MEMBERS["overlay_find_member"]("gateway-b", [A], HOSTS, TAGS)
    assert (found["member"], found["address"], found["tags"]) == (False, None, {"1": 2, "2": 2})
    for asked in ("cccccccc01", "10.242.9.9"):
        assert MEMBERS["overlay_find_member"](asked, [A], HOSTS, TAGS)["member"] is False


@pytest.mark.parametrize(
    ("asked", "members", "message"),
    [("gateway-z", [A], "Known are gateway-a, gateway-b"), ("gateway-a", [A, {**B, "name": "gateway-a"}], "any of")],
)
def test_who_is_nobody_or_several_is_an_error(asked: str, members: list[dict[str, Any]], message: str) -> None:
    with pytest.raises(AnsibleFilterError, match=message):
        MEMBERS["overlay_find_member"](asked, members, HOSTS, TAGS)


def told(sender: dict[str, Any], receiver: dict[str, Any], **asked: Any) -> dict[str, str]:
    return {
        f"{entry['protocol']} {entry['ports']}".strip(): "yes"
        if entry["possible"]
        else "one way"
        if entry["there"]["delivered"]
        else "no"
        for entry in ACCESS(SOURCE, sender, receiver, **asked)
    }


def test_the_overlay_s_own_rules_isolate_communities_and_open_one_door() -> None:
    assert told(GATEWAY_A, APP) == {
        "arp": "yes",
        "icmp": "yes",
        "tcp 1-8000, 8002-65535": "no",
        "tcp 8001": "yes",
        "udp every port": "no",
    }
    nothing = {"arp": "no", "icmp": "no", "tcp every port": "no", "udp every port": "no"}
    assert told(GATEWAY_A, GATEWAY_B) == nothing
    assert told(APP, GATEWAY_A) == {**nothing, "arp": "yes", "icmp": "yes"}
    assert told(OPS, GATEWAY_A) == {"arp": "yes", "icmp": "yes", "tcp every port": "yes", "udp every port": "one way"}


def test_one_port_is_told_with_the_rules_that_decide() -> None:
    (entry,) = ACCESS(SOURCE, GATEWAY_A, APP, port=8001)
    assert (entry["protocol"], entry["ports"], entry["possible"]) == ("tcp", "8001", True)
    for side, words in (("there", "dport 8001"), ("back", "sport 8001")):
        number, _, text = entry[side]["by"].removeprefix("line ").partition(": ")
        assert text == " ".join(SOURCE.splitlines()[int(number) - 1].split())
        assert words in text


def test_a_rule_over_several_lines_and_a_capability_are_named() -> None:
    source = """cap admin id 9 accept ipprotocol tcp; ;
accept ipprotocol udp
  and dport 53;
"""
    (entry,) = ACCESS(source, {"ip": "10.0.0.1", "tags": {}}, {"ip": "10.0.0.2", "tags": {}}, "udp", 53)
    assert entry["there"] == {"delivered": True, "by": "line 2: accept ipprotocol udp and dport 53;"}
    (entry,) = ACCESS(source, {"ip": "10.0.0.1", "tags": {}, "capabilities": [9]}, {"tags": {}}, "tcp", 22)
    assert (entry["there"]["by"], entry["back"]["delivered"], entry["possible"]) == ("capability 9", False, False)


@pytest.mark.parametrize("asked", [{"protocol": "sctp"}, {"port": 0}, {"port": 65536}, {"protocol": "icmp", "port": 1}])
def test_what_cant_be_asked_is_an_error(asked: dict[str, Any]) -> None:
    with pytest.raises(AnsibleFilterError, match=r"zerotier_explain_access: (protocol|port)"):
        ACCESS(SOURCE, GATEWAY_A, APP, **asked)


@pytest.mark.parametrize("name", sorted(ALL))
def test_every_filter_is_documented(name: str) -> None:
    document = yaml.safe_load((ROOT / "filter_plugins" / f"{name}.yml").read_text())
    options = document["DOCUMENTATION"]["options"]
    code = ALL[name].__code__
    arguments = list(code.co_varnames[1 : code.co_argcount])
    assert document["DOCUMENTATION"]["positional"].split(", ") == arguments
    assert [option for option in options if option != "_input"] == arguments
    assert {"EXAMPLES", "RETURN"} <= set(document)
