"""The modules against a self-hosted controller: what they change, what they leave alone, what they refuse."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible.module_utils.basic import AnsibleModule

from .conftest import ROOT, Controller, ModuleFailed, RunModule, load
from .doubles.scripted import Reply, answer, scripted

GATEWAY, SLOT, STRANGER = "efcc1b0947", "aaaaaaaaa1", "bbbbbbbbb2"
TAGS = {"role": {"id": 1, "enums": {"app": 1, "gateway": 2, "ops": 3}}, "community": {"id": 2}}
RULES = """
drop not ethertype ipv4 and not ethertype arp;
accept ethertype arp and tseq role gateway and treq role app;
accept tseq role ops;
"""
NETWORK: dict[str, Any] = {
    "name": "parkmesh",
    "private": True,
    "mtu": 2800,
    "routes": [{"target": "10.242.0.0/16"}],
    "ip_assignment_pools": [{"start": "10.242.200.1", "end": "10.242.250.254"}],
    "v4_assign_mode": {"zt": True},
    "rules_source": RULES,
    "tags": TAGS,
}
Run = Callable[..., dict[str, Any]]


@pytest.fixture
def run(run_module: RunModule, clean_controller: Controller) -> Run:
    """Runs a module against the empty controller."""

    def on_controller(module: str, /, **arguments: Any) -> dict[str, Any]:
        where = {"api": "controller", "url": clean_controller.url, "token_file": clean_controller.token_file}
        return run_module(module, **{**where, "retries": 0, **arguments})

    return on_controller


@pytest.fixture
def network(run: Run) -> str:
    return str(run("zerotier_network", **NETWORK)["network_id"])


def stored(controller: Controller, network: str) -> dict[str, Any]:
    document: dict[str, Any] = controller.ask("GET", f"/controller/network/{network}").json()
    return document


def member(controller: Controller, network: str, address: str) -> dict[str, Any]:
    document: dict[str, Any] = controller.ask("GET", f"/controller/network/{network}/member/{address}").json()
    return document


# Networks


def test_a_network_is_created_once_and_found_again_by_name(run: Run, controller: Controller) -> None:
    created = run("zerotier_network", **NETWORK)
    again = run("zerotier_network", **NETWORK)
    assert (created["changed"], again["changed"]) == (True, False)
    assert again["network_id"] == created["network_id"]
    assert again["changes"] == {}
    assert created["tags_by_name"]["role"]["enums"] == {"app": 1, "gateway": 2, "ops": 3}
    kept = stored(controller, created["network_id"])
    assert [tag["id"] for tag in kept["tags"]] == [1, 2]
    assert [rule["type"] for rule in kept["rules"]].count("ACTION_ACCEPT") == 2
    assert kept["revision"] == 1


def test_check_mode_creates_nothing_and_predicts_the_network(run: Run, controller: Controller) -> None:
    predicted = run("zerotier_network", check=True, **NETWORK)
    assert (predicted["changed"], predicted["network_id"]) == (True, None)
    assert controller.ask("GET", "/controller/network").json() == []
    created = run("zerotier_network", **NETWORK)
    assert {name: created["network"][name] for name in predicted["network"]} == predicted["network"]


def test_only_what_differs_is_written_and_the_rest_is_kept(run: Run, network: str, controller: Controller) -> None:
    before = stored(controller, network)
    result = run("zerotier_network", name="parkmesh", mtu=1400)
    assert result["changes"] == {"mtu": 1400}
    assert result["diff"] == {"before": {"mtu": 2800}, "after": {"mtu": 1400}}
    after = stored(controller, network)
    assert {**after, "mtu": 2800, "revision": before["revision"]} == before


def test_check_mode_of_a_change_writes_nothing(run: Run, network: str, controller: Controller) -> None:
    before = stored(controller, network)
    result = run("zerotier_network", check=True, name="parkmesh", mtu=1400)
    assert (result["changed"], result["network"]["mtu"]) == (True, 1400)
    assert stored(controller, network) == before


def test_the_order_of_routes_and_pools_makes_no_difference(run: Run) -> None:
    routes = [{"target": "10.1.0.0/16"}, {"target": "192.168.0.0/24", "via": "10.1.0.1"}]
    run("zerotier_network", name="n", routes=routes)
    assert not run("zerotier_network", name="n", routes=routes[::-1])["changed"]


def test_a_network_may_be_renamed_by_its_id(run: Run, network: str) -> None:
    assert run("zerotier_network", network_id=network, name="other")["changed"]
    assert run("zerotier_network_info")["networks"][0]["name"] == "other"


def test_a_network_is_deleted_once(run: Run, network: str, controller: Controller) -> None:
    assert run("zerotier_network", name="parkmesh", state="absent", check=True)["changed"]
    assert stored(controller, network)["name"] == "parkmesh"
    assert run("zerotier_network", name="parkmesh", state="absent")["changed"]
    assert not run("zerotier_network", name="parkmesh", state="absent")["changed"]
    assert not run("zerotier_network", network_id=network, state="absent")["changed"]


def test_a_name_of_two_networks_is_refused(run: Run, controller: Controller) -> None:
    for _ in range(2):
        controller.ask("POST", "/controller/network", {"name": "twin"})
    with pytest.raises(ModuleFailed, match="2 networks are named 'twin'"):
        run("zerotier_network", name="twin", mtu=1400)


def test_a_description_is_left_out_with_a_warning(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    warnings: list[str] = []
    monkeypatch.setattr(AnsibleModule, "warn", lambda self, text, **more: warnings.append(text))
    assert run("zerotier_network", name="n", description="d")["changed"]
    assert not run("zerotier_network", name="n", description="d")["changed"]
    assert warnings == ["controller keeps no description of a network: left out"] * 2


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"mtu": 500}, "mtu: 500 isn't from 1280 to 10000"),
        ({"routes": [{"target": "10.1.0.1/16"}]}, "host bits"),
        ({"routes": [{"target": "10.1.0.0/16"}, {"target": "10.1.0.0/16"}]}, "twice"),
        ({"routes": [{"target": "10.1.0.0/16", "via": "fd00::1"}]}, "different IP versions"),
        ({"routes": [{"target": "bogus"}]}, "bogus"),
        ({"ip_assignment_pools": [{"start": "10.1.0.9", "end": "10.1.0.1"}]}, "is no range"),
        ({"ip_assignment_pools": [{"start": "10.9.0.1", "end": "10.9.0.9"}]}, "outside of the managed routes"),
        ({"dns": {"domain": "x", "servers": ["here"]}}, "no IP address"),
        ({"dns": {"servers": [f"10.1.0.{n}" for n in range(1, 6)]}}, "more than the 4"),
        ({"rules": [{"type": "BOGUS"}]}, "rules.0.: no control plane keeps a rule of type 'BOGUS'"),
        ({"rules_source": "accept foo;"}, "line 1, column 8"),
        ({"rules_source": "accept tseq role boss;", "tags": TAGS}, "no enum of this name"),
        ({"tags": {"role": {"enums": {}}}}, "id"),
        ({"tags": {"role": {"id": 1, "default": "boss"}}}, "no enum"),
        ({"tags": {"role": {"id": 1, "colour": "red"}}}, "colour means nothing"),
        ({"tags": {"a": {"id": 1}, "b": {"id": 1}}}, "twice"),
        ({"capabilities": {"web": {"id": 1, "rules": [{"type": "NO"}]}}}, "no control plane keeps"),
    ],
)
def test_a_setting_that_cant_be_is_refused_before_anything_is_written(
    run: Run, controller: Controller, settings: dict[str, Any], message: str
) -> None:
    with pytest.raises(ModuleFailed, match=message):
        run("zerotier_network", name="n", **settings)
    assert controller.ask("GET", "/controller/network").json() == []


def test_a_mistake_in_the_rules_tells_its_place(run: Run) -> None:
    with pytest.raises(ModuleFailed) as caught:
        run("zerotier_network", name="n", rules_source="accept;\ndrop dport x;")
    assert (caught.value.result["line"], caught.value.result["column"]) == (2, 1)


# One member


def gateway(network: str, **more: Any) -> dict[str, Any]:
    return {
        "network_id": network,
        "address": GATEWAY,
        "name": "gateway-a",
        "authorized": True,
        "no_auto_assign_ips": True,
        "ip_assignments": ["10.242.1.1"],
        "tags": {"role": "gateway", "community": 1},
        "tag_definitions": TAGS,
        **more,
    }


def test_a_member_is_pre_authorised_once(run: Run, network: str, controller: Controller) -> None:
    assert run("zerotier_member", **gateway(network))["changed"]
    again = run("zerotier_member", **gateway(network))
    assert (again["changed"], again["changes"]) == (False, {})
    kept = member(controller, network, GATEWAY)
    assert (kept["name"], kept["authorized"], kept["ipAssignments"]) == ("gateway-a", True, ["10.242.1.1"])
    assert kept["tags"] == [[1, 2], [2, 1]]


def test_what_isnt_given_is_kept(run: Run, network: str, controller: Controller) -> None:
    run("zerotier_member", **gateway(network))
    before = member(controller, network, GATEWAY)
    result = run("zerotier_member", network_name="parkmesh", address=GATEWAY.upper(), active_bridge=True)
    assert result["changes"] == {"active_bridge": True}
    after = member(controller, network, GATEWAY)
    assert {**after, "activeBridge": False, "revision": before["revision"]} == before


@pytest.mark.parametrize(
    ("tags", "kept"),
    [
        ({"community": 5}, [[1, 2], [2, 5]]),
        ({"role": "app"}, [[1, 1], [2, 1]]),
        ({"role": None}, [[2, 1]]),
        ({"1": 3, "7": 9}, [[1, 3], [2, 1], [7, 9]]),
        ({}, [[1, 2], [2, 1]]),
    ],
)
def test_tags_are_set_one_by_one(
    run: Run, network: str, controller: Controller, tags: dict[str, Any], kept: list[list[int]]
) -> None:
    run("zerotier_member", **gateway(network))
    run("zerotier_member", network_id=network, address=GATEWAY, tags=tags, tag_definitions=TAGS)
    assert member(controller, network, GATEWAY)["tags"] == kept


def test_check_mode_of_a_member_writes_nothing(run: Run, network: str, controller: Controller) -> None:
    predicted = run("zerotier_member", check=True, **gateway(network))
    assert (predicted["changed"], predicted["member"]["name"]) == (True, "gateway-a")
    assert controller.ask("GET", f"/controller/network/{network}/member/{GATEWAY}").status_code == 404
    run("zerotier_member", **gateway(network))
    assert run("zerotier_member", check=True, **gateway(network, name="b"))["changed"]
    assert member(controller, network, GATEWAY)["name"] == "gateway-a"


def test_an_empty_list_takes_the_addresses_away_and_nothing_else_does(run: Run, network: str) -> None:
    run("zerotier_member", **gateway(network))
    kept = run("zerotier_member", network_id=network, address=GATEWAY, name="x")
    assert kept["member"]["ip_assignments"] == ["10.242.1.1"]
    emptied = run("zerotier_member", network_id=network, address=GATEWAY, ip_assignments=[])
    assert emptied["member"]["ip_assignments"] == []


def test_a_member_is_removed_once(run: Run, network: str, controller: Controller) -> None:
    run("zerotier_member", **gateway(network))
    absent = {"network_id": network, "address": GATEWAY, "state": "absent"}
    assert run("zerotier_member", check=True, **absent)["changed"]
    assert member(controller, network, GATEWAY)["authorized"]
    assert run("zerotier_member", **absent)["changed"]
    assert controller.ask("GET", f"/controller/network/{network}/member/{GATEWAY}").status_code == 404
    assert not run("zerotier_member", **absent)["changed"]
    assert not run("zerotier_member", **{**absent, "network_id": f"{controller.address}abcdef"})["changed"]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"address": "xyz"}, "no ZeroTier address"),
        ({"address": "0000000000"}, "reserved"),
        ({"ip_assignments": ["10.242.1.1/24"]}, "prefix length"),
        ({"ip_assignments": ["ten"]}, "no IP address"),
        ({"ip_assignments": ["10.242.1.1", "10.242.1.1"]}, "twice"),
        ({"ip_assignments": ["172.31.0.1"]}, "outside of the network's managed routes"),
        ({"ip_assignments": ["10.242.0.11"]}, f"already assigned to the member {SLOT}"),
        ({"tags": {"role": "boss"}}, "'boss' is no number and none of its names"),
        ({"tags": {"colour": 1}}, "the tag 'colour' isn't defined"),
        ({"tags": {"role": -1}}, "isn't from 0"),
        ({"tags": {"role": ["app"]}}, "none of its flags"),
        ({"network_id": "1234"}, "16 hexadecimal digits"),
        ({"network_id": "1234567890abcdef"}, "has no network 1234567890abcdef"),
    ],
)
def test_a_member_that_cant_be_is_refused_before_anything_is_written(
    run: Run, network: str, controller: Controller, settings: dict[str, Any], message: str
) -> None:
    run("zerotier_member", network_id=network, address=SLOT, ip_assignments=["10.242.0.11"])
    with pytest.raises(ModuleFailed, match=message):
        run("zerotier_member", **gateway(network, **settings))
    assert list(controller.ask("GET", f"/controller/network/{network}/member").json()) == [SLOT]


# Many members


def slots(count: int) -> list[dict[str, Any]]:
    return [
        {
            "address": f"a{number:09x}",
            "name": f"slot-{number}",
            "authorized": True,
            "ip_assignments": [f"10.242.0.{10 + number}"],
            "tags": {"role": "app"},
        }
        for number in range(1, count + 1)
    ]


def many(network: str, members: list[dict[str, Any]], **more: Any) -> dict[str, Any]:
    return {"network_id": network, "members": members, "tag_definitions": TAGS, **more}


def test_a_set_is_created_changed_and_left_alone(run: Run, network: str) -> None:
    wanted = slots(5)
    created = run("zerotier_members", **many(network, wanted))
    assert created["created"] == [entry["address"] for entry in wanted]
    again = run("zerotier_members", **many(network, wanted))
    assert (again["changed"], again["unchanged"]) == (False, 5)
    wanted[2]["name"] = "renamed"
    changed = run("zerotier_members", **many(network, wanted))
    assert (changed["updated"], changed["unchanged"]) == ([wanted[2]["address"]], 4)
    assert changed["diff"]["after"] == {wanted[2]["address"]: {"name": "renamed"}}


def test_two_members_may_swap_their_addresses(run: Run, network: str) -> None:
    wanted = slots(2)
    run("zerotier_members", **many(network, wanted))
    first, second = wanted[0]["ip_assignments"], wanted[1]["ip_assignments"]
    wanted[0]["ip_assignments"], wanted[1]["ip_assignments"] = second, first
    assert len(run("zerotier_members", **many(network, wanted))["updated"]) == 2
    assert not run("zerotier_members", **many(network, wanted))["changed"]


def test_members_that_arent_listed_stay_unless_purged(run: Run, network: str, controller: Controller) -> None:
    run("zerotier_members", **many(network, slots(3)))
    assert run("zerotier_members", **many(network, slots(1)))["removed"] == []
    dry = run("zerotier_members", check=True, **many(network, slots(1), purge=True))
    assert [entry["name"] for entry in dry["removed"]] == ["slot-2", "slot-3"]
    assert len(controller.ask("GET", f"/controller/network/{network}/member").json()) == 3
    assert len(run("zerotier_members", **many(network, slots(1), purge=True))["removed"]) == 2
    assert list(controller.ask("GET", f"/controller/network/{network}/member").json()) == ["a000000001"]


def test_purge_stops_at_its_limit_and_writes_nothing(run: Run, network: str, controller: Controller) -> None:
    run("zerotier_members", **many(network, slots(4)))
    wanted = [{**slots(1)[0], "name": "renamed"}]
    with pytest.raises(ModuleFailed, match="would remove 3 members, purge_limit allows 2") as caught:
        run("zerotier_members", **many(network, wanted, purge=True, purge_limit=2))
    assert len(caught.value.result["removed"]) == 3
    assert caught.value.result["changed"] is False
    assert member(controller, network, "a000000001")["name"] == "slot-1"
    assert len(controller.ask("GET", f"/controller/network/{network}/member").json()) == 4


def test_purge_may_leave_nodes_alone_that_wait_to_be_admitted(run: Run, network: str) -> None:
    run("zerotier_members", **many(network, [*slots(2), {"address": STRANGER}]))
    result = run("zerotier_members", **many(network, slots(1), purge=True, purge_authorized_only=True))
    assert [entry["address"] for entry in result["removed"]] == ["a000000002"]


def test_all_mistakes_of_a_set_are_reported_and_nothing_is_written(
    run: Run, network: str, controller: Controller
) -> None:
    wanted: list[dict[str, Any]] = [
        *slots(2),
        {"address": "bad"},
        {"address": "a000000001"},
        {"address": "c000000001", "tags": {"role": "boss"}},
        {"address": "c000000002", "ip_assignments": ["10.242.0.11"]},
        {"address": "c000000003", "ip_assignments": ["192.0.2.1"]},
    ]
    with pytest.raises(ModuleFailed) as caught:
        run("zerotier_members", **many(network, wanted))
    for part in ("members[2]", "a000000001 is there twice", "boss", "also the address of", "192.0.2.1 is outside"):
        assert part in str(caught.value)
    assert controller.ask("GET", f"/controller/network/{network}/member").json() in ({}, [])


def test_an_address_of_a_member_that_isnt_listed_is_taken(run: Run, network: str) -> None:
    run("zerotier_members", **many(network, slots(2)))
    with pytest.raises(ModuleFailed, match=r"10\.242\.0\.12 is also the address of a000000002"):
        run("zerotier_members", **many(network, [{"address": STRANGER, "ip_assignments": ["10.242.0.12"]}]))
    purged = many(network, [{"address": STRANGER, "ip_assignments": ["10.242.0.12"]}], purge=True)
    assert len(run("zerotier_members", **purged)["removed"]) == 2


def test_single_failed_writes_are_listed_and_the_others_done(run_module: RunModule) -> None:
    network = {"id": "5d38c9707d4b7fb0", "name": "n"}
    before = {"data": [{"id": "a000000001"}, {"id": "a000000002"}]}
    after = {"data": [{"id": "a000000001", "name": "x"}, {"id": "a000000002", "name": "x"}]}
    replies = [answer(200, network), answer(200, before), answer(200, {}), answer(500, b""), answer(200, after)]
    members = [{"address": "a000000001", "name": "x"}, {"address": "a000000002", "name": "x"}]
    with scripted(replies) as server, pytest.raises(ModuleFailed, match="1 of 2 members failed") as caught:
        run_module(
            "zerotier_members",
            api="controller",
            url=server.url,
            token="module-token",
            retries=0,
            network_id=network["id"],
            members=members,
        )
    failures = caught.value.result["failures"]
    assert len(failures) == 1
    assert next(iter(failures.values())).count("500") == 1
    assert caught.value.result["changed"] is True


def test_a_first_dry_run_goes_on_where_the_network_would_be_created(run: Run, controller: Controller) -> None:
    predicted = run("zerotier_network", check=True, **NETWORK)
    where = {"network_id": predicted["network_id"], "check": True}
    assert where["network_id"] is None
    definitions = {"tag_definitions": predicted["tags_by_name"]}
    assert run("zerotier_members", **where, members=slots(2), **definitions)["created"] == ["a000000001", "a000000002"]
    assert run("zerotier_member", **{**gateway(""), **where})["changed"]
    assert not run("zerotier_member", **where, address=GATEWAY, state="absent")["changed"]
    assert run("zerotier_member_info", **where)["members"] == []
    assert run("zerotier_members", network_name="parkmesh", check=True, members=slots(1), **definitions)["changed"]
    assert controller.ask("GET", "/controller/network").json() == []


def test_in_earnest_a_network_has_to_be_named(run: Run) -> None:
    for module in ("zerotier_members", "zerotier_member", "zerotier_member_info"):
        arguments: dict[str, Any] = {"members": []} if module == "zerotier_members" else {"address": GATEWAY}
        with pytest.raises(ModuleFailed, match="network_id or by its name"):
            run(module, **arguments)


# Reading


def test_info_reads_without_changing(run: Run, network: str, controller: Controller) -> None:
    run("zerotier_member", **gateway(network))
    before = stored(controller, network)
    assert [entry["id"] for entry in run("zerotier_network_info", network_name="parkmesh")["networks"]] == [network]
    assert run("zerotier_network_info", network_id=f"{controller.address}abcdef")["networks"] == []
    read = run("zerotier_member_info", network_name="parkmesh")
    assert [entry["address"] for entry in read["members"]] == [GATEWAY]
    assert run("zerotier_member_info", network_id=network, address=STRANGER)["members"] == []
    assert stored(controller, network) == before


# The node's own API


@pytest.fixture
def node(run_module: RunModule, controller: Controller) -> Run:
    def on_node(**arguments: Any) -> dict[str, Any]:
        return run_module("zerotier_node", **{"port": controller.port, "home": str(controller.home), **arguments})

    return on_node


def test_check_mode_doesnt_join(node: Run, controller: Controller) -> None:
    result = node(network_id="8056C2E21C000001", check=True, wait=True)
    assert (result["changed"], result["network"], result["address"]) == (True, {}, controller.address)
    assert controller.ask("GET", "/network").json() == []


def test_leaving_a_network_that_isnt_joined_changes_nothing(node: Run) -> None:
    assert not node(network_id="8056c2e21c000001", state="left")["changed"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"network_id": "123"}, "16 hexadecimal digits"),
        ({"network_id": "8056c2e21c000001", "port": 1}, "does zerotier-one run"),
        ({"network_id": "8056c2e21c000001", "home": "/nonexistent"}, "can't be read"),
    ],
)
def test_a_node_that_cant_be_asked_says_why(node: Run, arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ModuleFailed, match=message):
        node(**arguments)


@pytest.mark.skipif(
    os.geteuid() != 0 or not os.access("/dev/net/tun", os.R_OK | os.W_OK), reason="joining needs root and /dev/net/tun"
)
def test_a_node_joins_and_leaves_a_network_of_its_own_controller(run: Run, node: Run, controller: Controller) -> None:
    network = run("zerotier_network", **NETWORK)["network_id"]
    run("zerotier_member", network_id=network, address=controller.address, authorized=True)
    # Nothing of the network reaches this host's addresses and routes.
    joined = {"network_id": network, "allow_managed": False}
    first = node(**joined, wait=True, wait_for_address=False)
    try:
        assert (first["changed"], first["network"]["status"]) == (True, "OK")
        assert first["network"]["allow_managed"] is False
        assert not node(**joined, wait=True, wait_for_address=False)["changed"]
        assert [entry["id"] for entry in controller.ask("GET", "/network").json()] == [network]
    finally:
        left = node(network_id=network, state="left")
    assert left["changed"]
    assert controller.ask("GET", "/network").json() == []


class _Service:
    """What the node's API answers, in memory: a join makes the network appear with the next statuses."""

    def __init__(self, statuses: list[str]) -> None:
        self.statuses = statuses
        self.joined: dict[str, dict[str, Any]] = {}
        self.calls: list[str] = []

    def answer(self, method: str, path: str, body: Any = None) -> Any:
        self.calls.append(f"{method} {path}")
        if path == "/status":
            return {"address": GATEWAY, "version": "1.14.1"}
        network = path.rsplit("/", 1)[1]
        if method == "POST":
            self.joined.setdefault(network, {"allowManaged": True}).update(body)
        elif method == "DELETE":
            self.joined.pop(network, None)
        elif network in self.joined:
            status = self.statuses.pop(0) if len(self.statuses) > 1 else self.statuses[0]
            addresses = ["10.242.1.1/16"] if status == "OK" else []
            return {"id": network, "status": status, "assignedAddresses": addresses, **self.joined[network]}
        return None


@pytest.fixture
def service(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., _Service]:
    def make(*statuses: str) -> _Service:
        from ansible.module_utils import zerotier_service

        (tmp_path / "authtoken.secret").write_text("service-token\n")
        fake = _Service(list(statuses))
        monkeypatch.setattr(zerotier_service.Service, "_request", lambda self, *request: fake.answer(*request))
        monkeypatch.setattr(zerotier_service.time, "sleep", lambda seconds: None)
        return fake

    return make


NWID = "8056c2e21c000001"


def test_joining_waits_until_the_network_works(
    run_module: RunModule, service: Callable[..., _Service], tmp_path: Path
) -> None:
    service("REQUESTING_CONFIGURATION", "ACCESS_DENIED", "OK")
    arguments = {"home": str(tmp_path), "network_id": NWID, "wait": True, "allow_dns": True}
    joined = run_module("zerotier_node", **arguments)
    assert (joined["changed"], joined["network"]["status"]) == (True, "OK")
    assert joined["network"]["assigned_addresses"] == ["10.242.1.1/16"]
    again = run_module("zerotier_node", **arguments)
    assert again["changed"] is False


def test_a_flag_that_differs_is_set_and_other_networks_are_left_alone(
    run_module: RunModule, service: Callable[..., _Service], tmp_path: Path
) -> None:
    fake = service("OK")
    fake.joined = {NWID: {"allowManaged": True}, "9999999999999999": {}}
    changed = run_module("zerotier_node", home=str(tmp_path), network_id=NWID, allow_managed=False)
    assert changed["diff"]["after"]["allow_managed"] is False
    run_module("zerotier_node", home=str(tmp_path), network_id=NWID, state="left")
    assert list(fake.joined) == ["9999999999999999"]


@pytest.mark.parametrize(
    ("status", "message"),
    [
        ("ACCESS_DENIED", "hasn't authorised this node"),
        ("NOT_FOUND", "doesn't know the network"),
        ("PORT_ERROR", "can't make its interface"),
        ("REQUESTING_CONFIGURATION", "can't be reached"),
    ],
)
def test_the_wait_is_bounded_and_says_what_the_network_waits_for(
    run_module: RunModule, service: Callable[..., _Service], tmp_path: Path, status: str, message: str
) -> None:
    service(status)
    with pytest.raises(ModuleFailed, match=message):
        run_module("zerotier_node", home=str(tmp_path), network_id=NWID, wait=True, wait_timeout=0.0)


@pytest.mark.parametrize(
    ("reply", "message"),
    [
        (answer(401, {}), "doesn't accept this token"),
        (answer(500, b""), "the node answered 500"),
        (answer(200, b"<html>"), "isn't JSON"),
        (answer(200, b'{"address": "efc'), "isn't JSON"),
        (answer(200, {"hello": 1}), "isn't a ZeroTier node"),
        (answer(200, b""), "isn't a ZeroTier node"),
        (Reply(b""), "does zerotier-one run"),
        (Reply(b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n{"), "does zerotier-one run"),
    ],
)
def test_a_bad_answer_of_the_node_is_a_clear_error(
    run_module: RunModule, tmp_path: Path, reply: Reply, message: str
) -> None:
    (tmp_path / "authtoken.secret").write_text("node-secret-token")
    with scripted([reply]) as server, pytest.raises(ModuleFailed, match=message) as caught:
        run_module("zerotier_node", home=str(tmp_path), port=int(server.url.rsplit(":", 1)[1]), network_id=NWID)
    assert "node-secret-token" not in str(caught.value.result)


# Secrets and documentation


@pytest.mark.parametrize(("token", "message"), [("", "empty"), ("a\nb", "white space"), ("wrong", "401")])
def test_a_bad_token_is_a_clear_error(
    run_module: RunModule, controller: Controller, tmp_path: Path, token: str, message: str
) -> None:
    file = tmp_path / "token"
    file.write_text(token)
    with pytest.raises(ModuleFailed, match=message):
        run_module("zerotier_network_info", api="controller", url=controller.url, token_file=str(file), retries=0)


def test_a_missing_token_is_a_clear_error(
    run_module: RunModule, monkeypatch: pytest.MonkeyPatch, controller: Controller
) -> None:
    for name in ("ZEROTIER_TOKEN", "ZEROTIER_CENTRAL_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(ModuleFailed, match="token or token_file is needed"):
        run_module("zerotier_network_info", url=controller.url)
    with pytest.raises(ModuleFailed, match="No such file"):
        run_module("zerotier_network_info", url=controller.url, token_file="/nonexistent")


def test_the_token_is_in_no_result(run: Run, network: str, controller: Controller) -> None:
    results = [
        run("zerotier_network_info"),
        run("zerotier_member", **gateway(network)),
        run("zerotier_network", token=controller.token, **NETWORK),
    ]
    assert controller.token not in json.dumps(results)


MODULES = [
    "zerotier_network",
    "zerotier_member",
    "zerotier_members",
    "zerotier_network_info",
    "zerotier_member_info",
    "zerotier_node",
]


def documented(name: str) -> dict[str, Any]:
    module = load("library", name)
    documentation: dict[str, Any] = yaml.safe_load(module.DOCUMENTATION)
    options: dict[str, Any] = {}
    fragments = documentation.get("extends_documentation_fragment", [])
    for fragment in [fragments] if isinstance(fragments, str) else fragments:
        part = fragment.partition(".")[2].upper() or "DOCUMENTATION"
        source = getattr(load("doc_fragments", "zerotier").ModuleDocFragment, part)
        options |= yaml.safe_load(source)["options"]
    for option, entry in documentation["options"].items():
        options[option] = {**options.get(option, {}), **entry}
    return options


def shape(options: dict[str, Any], nested: str) -> dict[str, Any]:
    return {
        name: {
            "type": entry.get("type", "str"),
            "required": entry.get("required", False),
            "default": entry.get("default"),
            "choices": entry.get("choices"),
            "elements": entry.get("elements"),
            "aliases": entry.get("aliases", []),
            "options": shape(entry.get(nested) or {}, nested),
        }
        for name, entry in options.items()
    }


@pytest.mark.parametrize("name", MODULES)
def test_the_documentation_is_that_of_the_arguments(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: dict[str, Any] = {}

    class Stop(Exception):
        pass

    def stop(*args: Any, argument_spec: dict[str, Any], **options: Any) -> None:
        seen.update(argument_spec)
        raise Stop

    module = load("library", name)
    target = module if name == "zerotier_node" else module.common
    monkeypatch.setattr(target, "AnsibleModule", stop)
    with pytest.raises(Stop):
        module.main()
    assert shape(documented(name), "suboptions") == shape(seen, "options")


@pytest.mark.parametrize("name", MODULES)
def test_examples_and_return_values_are_yaml(name: str) -> None:
    module = load("library", name)
    assert isinstance(yaml.safe_load(module.EXAMPLES), list)
    assert all({"description", "returned", "type"} <= set(entry) for entry in yaml.safe_load(module.RETURN).values())


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("zerotier_network", {"name": "n"}),
        ("zerotier_member", {"network_id": NWID, "address": GATEWAY}),
        ("zerotier_members", {"network_id": NWID, "members": []}),
        ("zerotier_network_info", {}),
        ("zerotier_member_info", {"network_id": NWID}),
    ],
)
def test_without_requests_a_module_says_what_it_needs(name: str, arguments: dict[str, Any]) -> None:
    program = f"""
import importlib.util, sys
sys.modules["requests"] = None
import ansible.module_utils
ansible.module_utils.__path__.append({str(ROOT / "module_utils")!r})
from ansible.module_utils.testing import patch_module_args
found = importlib.util.spec_from_file_location("module", {str(ROOT / "library" / f"{name}.py")!r})
module = importlib.util.module_from_spec(found)
found.loader.exec_module(module)
with patch_module_args({arguments!r}):
    module.main()
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False, timeout=60)
    assert "required Python library (requests)" in json.loads(done.stdout.splitlines()[-1])["msg"], done.stderr


def test_every_module_is_tested() -> None:
    assert sorted(path.stem for path in (ROOT / "library").glob("zerotier_*.py")) == sorted(MODULES)
