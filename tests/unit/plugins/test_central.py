"""The client and the modules against doubles of ZeroTier Central v1 and v2 (beta)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from ansible.module_utils import zerotier_connect as zt
from ansible.module_utils import zerotier_http as http
from ansible.module_utils import zerotier_model as model

from .conftest import ModuleFailed, RunModule
from .doubles.central import TOKEN, Central, serve
from .doubles.scripted import answer, scripted

NODE, OTHER = "efcc1b0947", "aaaaaaaaa1"
NETWORK: dict[str, Any] = {
    "name": "office",
    "description": "all of us",
    "mtu": 1400,
    "routes": [{"target": "10.147.0.0/16"}],
    "ip_assignment_pools": [{"start": "10.147.1.1", "end": "10.147.1.9"}],
    "v4_assign_mode": {"zt": True},
    "v6_assign_mode": {"rfc4193": True},
    "dns": {"domain": "office.example", "servers": ["10.147.0.1"]},
}
MEMBER: dict[str, Any] = {
    "address": NODE,
    "name": "desk",
    "description": "by the window",
    "authorized": True,
    "ip_assignments": ["10.147.0.9"],
    "no_auto_assign_ips": True,
}


@pytest.fixture(params=["v1", "v2"])
def central(request: pytest.FixtureRequest) -> Iterator[Central]:
    with serve(request.param) as double:
        yield double


@pytest.fixture
def v1() -> Iterator[Central]:
    with serve("v1") as double:
        yield double


@pytest.fixture
def v2() -> Iterator[Central]:
    with serve("v2") as double:
        yield double


def connect(url: str, **options: Any) -> zt.Client:
    return zt.connect(zt.Connection(**{"api": "auto", "url": url, "token": TOKEN, "retries": 0, **options}))


def run_on(run_module: RunModule, central: Central, module: str, **arguments: Any) -> dict[str, Any]:
    where = {"url": central.url, "token": TOKEN, "retries": 0}
    if module == "zerotier_network" and central.url.endswith("v2"):
        arguments.setdefault("network_group", "a group")
    return run_module(module, **where, **arguments)


def test_the_kind_follows_from_the_url(central: Central) -> None:
    assert connect(central.url).kind == f"central_{central.url[-2:]}"


def test_a_wrong_token_is_unauthorized(central: Central) -> None:
    with pytest.raises(http.Unauthorized):
        connect(central.url, token="other").networks()


def test_a_network_and_a_member_are_made_once(run_module: RunModule, central: Central) -> None:
    created = run_on(run_module, central, "zerotier_network", **NETWORK)
    assert created["changed"]
    assert not run_on(run_module, central, "zerotier_network", **NETWORK)["changed"]
    where = {"network_id": created["network_id"]}
    assert run_on(run_module, central, "zerotier_member", **where, **MEMBER)["changed"]
    before = len(central.writes())
    assert not run_on(run_module, central, "zerotier_member", **where, **MEMBER)["changed"]
    assert len(central.writes()) == before
    read = run_on(run_module, central, "zerotier_member_info", **where)["members"][0]
    assert (read["description"], read["authorized"], read["ip_assignments"]) == ("by the window", True, ["10.147.0.9"])


def test_check_mode_writes_nothing(run_module: RunModule, central: Central) -> None:
    assert run_on(run_module, central, "zerotier_network", check=True, **NETWORK)["changed"]
    assert central.writes() == []


def test_only_the_difference_is_sent(run_module: RunModule, central: Central) -> None:
    network = run_on(run_module, central, "zerotier_network", **NETWORK)["network_id"]
    run_on(run_module, central, "zerotier_member", network_id=network, **MEMBER)
    central.requests.clear()
    run_on(run_module, central, "zerotier_member", network_id=network, address=NODE, name="table")
    assert [body for _, _, body in central.writes()] == [{"name": "table"}]


def test_a_member_is_deauthorised_and_cleared_before_it_is_deleted(run_module: RunModule, central: Central) -> None:
    network = run_on(run_module, central, "zerotier_network", **NETWORK)["network_id"]
    run_on(run_module, central, "zerotier_member", network_id=network, **MEMBER)
    central.requests.clear()
    assert run_on(run_module, central, "zerotier_member", network_id=network, address=NODE, state="absent")["changed"]
    assert [method for method, _, _ in central.writes()][-1] == "DELETE"
    assert central.members[network] == {}
    assert not run_on(run_module, central, "zerotier_member", network_id=network, address=NODE, state="absent")[
        "changed"
    ]


def test_a_set_is_reconciled(run_module: RunModule, central: Central) -> None:
    network = run_on(run_module, central, "zerotier_network", **NETWORK)["network_id"]
    members = [MEMBER, {"address": OTHER, "name": "two", "authorized": True, "ip_assignments": ["10.147.0.10"]}]
    arguments = {"network_id": network, "members": members}
    assert run_on(run_module, central, "zerotier_members", **arguments)["created"] == [OTHER, NODE]
    assert not run_on(run_module, central, "zerotier_members", **arguments)["changed"]
    purged = run_on(run_module, central, "zerotier_members", network_id=network, members=[MEMBER], purge=True)
    assert [entry["address"] for entry in purged["removed"]] == [OTHER]
    assert list(central.members[network]) == [NODE]


def test_a_network_is_deleted_once(run_module: RunModule, central: Central) -> None:
    network = run_on(run_module, central, "zerotier_network", **NETWORK)["network_id"]
    for changed in (True, False):
        result = run_on(run_module, central, "zerotier_network", network_id=network, state="absent")
        assert result["changed"] is changed


def test_central_chooses_the_id(run_module: RunModule, central: Central) -> None:
    with pytest.raises(ModuleFailed, match="Central chooses the id"):
        run_on(run_module, central, "zerotier_network", network_id="8056c2e21c00beef", **NETWORK)


# v1

RULES = "tag role id 5 enum 1 app enum 2 gateway ;\naccept tseq role app;\n"


def test_v1_gets_the_rules_as_source(run_module: RunModule, v1: Central) -> None:
    first = run_on(run_module, v1, "zerotier_network", name="n", rules_source=RULES)
    assert v1.networks[first["network_id"]]["rulesSource"] == RULES
    assert not run_on(run_module, v1, "zerotier_network", name="n", rules_source=RULES)["changed"]
    with pytest.raises(ModuleFailed, match="line 1, column 8"):
        run_on(run_module, v1, "zerotier_network", name="n", rules_source="accept foo;")


def test_v1_knows_the_names_of_tags(run_module: RunModule, v1: Central) -> None:
    network = run_on(run_module, v1, "zerotier_network", **NETWORK)["network_id"]
    v1.networks[network]["tagsByName"] = {"role": {"id": 5, "default": None, "enums": {"app": 1}, "flags": {}}}
    run_on(run_module, v1, "zerotier_member", network_id=network, address=NODE, tags={"role": "app"})
    assert v1.members[network][NODE]["config"]["tags"] == [[5, 1]]


def test_v1_oddities_are_read(v1: Central) -> None:
    network = {
        "id": "8056c2e21c000001",
        "config": {
            "name": None,
            "routes": [{"target": "10.0.0.0/24"}],
            "dns": {"domain": "", "servers": None},
            "rules": None,
        },
        "tagsByName": None,
    }
    member = {
        "nodeId": NODE.upper(),
        "name": None,
        "lastSeen": 0,
        "config": {"tags": [[2, True]], "ipAssignments": None},
    }
    v1.networks[network["id"]] = network  # type: ignore[index]
    v1.members[network["id"]] = {NODE: member}  # type: ignore[index]
    client = connect(v1.url)
    read = client.networks()[0]
    assert (read.name, read.routes, read.dns) == ("", ({"target": "10.0.0.0/24", "via": None},), None)
    only = client.members("8056c2e21c000001")[0]
    assert (only.address, dict(only.tags), only.last_seen) == (NODE, {"2": 1}, None)


@pytest.mark.parametrize("body", [{"networks": []}, None, "x"])
def test_a_list_that_isnt_one_is_an_error(body: Any) -> None:
    with scripted([answer(200, body)]) as server, pytest.raises(model.MalformedAnswer, match="a list was expected"):
        connect(server.url + "/api/v1").networks()


def test_the_rate_limit_is_waited_for() -> None:
    waits: list[float] = []
    limited = answer(429, b"", {"Retry-After": "2"})
    with scripted([limited, answer(200, [])]) as server:
        transport = http.Transport(server.url, {}, TOKEN, retries=1, sleep=waits.append)
        assert transport.request("GET", "/network") == []
    assert len(waits) == 1
    assert 2 <= waits[0] <= 2.25


# v2


@pytest.mark.parametrize(
    "settings",
    [
        {"tags": {"role": {"id": 1}}},
        {"rules": [{"type": "ACTION_ACCEPT"}]},
        {"rules_source": RULES, "tags": {"community": {"id": 9}}},
    ],
)
def test_v2_refuses_what_it_cant_write(run_module: RunModule, v2: Central, settings: dict[str, Any]) -> None:
    with pytest.raises(ModuleFailed, match=r"can't be written to Central v2"):
        run_on(run_module, v2, "zerotier_network", name="n", **settings)
    assert v2.networks == {}


def test_v2_gets_the_rules_as_source(run_module: RunModule, v2: Central) -> None:
    first = run_on(run_module, v2, "zerotier_network", name="n", rules_source=RULES)
    assert v2.rules[first["network_id"]] == {"kind": "custom", "config": {"source": RULES}}
    assert not run_on(run_module, v2, "zerotier_network", name="n", rules_source=RULES)["changed"]


def test_v2_rules_of_another_kind_are_replaced_only_when_rules_are_wanted(run_module: RunModule, v2: Central) -> None:
    network = run_on(run_module, v2, "zerotier_network", **NETWORK)["network_id"]
    v2.rules[network] = {"kind": "isolation", "config": {"blockNonIP": True}}
    assert not run_on(run_module, v2, "zerotier_network", **NETWORK)["changed"]
    assert v2.rules[network]["kind"] == "isolation"
    assert run_on(run_module, v2, "zerotier_network", **NETWORK, rules_source="accept;")["changed"]
    assert v2.rules[network]["kind"] == "custom"


def test_v2_lists_are_summaries_and_the_networks_are_read_in_full(run_module: RunModule, v2: Central) -> None:
    run_on(run_module, v2, "zerotier_network", **NETWORK)
    for read in (connect(v2.url).networks(), connect(v2.url).networks_named("office")):
        assert [(network.mtu, network.v6_assign_mode["rfc4193"]) for network in read] == [(1400, True)]


def test_v2_updates_name_only_what_changes(run_module: RunModule, v2: Central) -> None:
    network = run_on(run_module, v2, "zerotier_network", **NETWORK)["network_id"]
    v2.requests.clear()
    run_on(run_module, v2, "zerotier_network", network_id=network, mtu=1500)
    assert v2.writes() == [("POST", f"/v2/network/{network}", {"config": {"mtu": 1500}})]


def test_v2_members_are_authorised_by_requests_of_their_own(run_module: RunModule, v2: Central) -> None:
    network = run_on(run_module, v2, "zerotier_network", **NETWORK)["network_id"]
    v2.requests.clear()
    run_on(run_module, v2, "zerotier_member", network_id=network, address=NODE, name="desk", authorized=True)
    where = f"/v2/network/{network}/member"
    assert v2.writes() == [
        ("POST", where, [{"deviceId": NODE, "name": "desk"}]),
        ("POST", f"{where}/{NODE}/authorize", None),
    ]
    v2.requests.clear()
    run_on(run_module, v2, "zerotier_member", network_id=network, address=NODE, authorized=False)
    assert v2.writes() == [("POST", f"{where}/{NODE}/de-authorize", None)]


def test_v2_what_is_forbidden_and_listed_is_an_error(v2: Central) -> None:
    listed = answer(200, {"items": [{"id": "8056c2e21c000001", "name": "theirs"}]})
    with scripted([answer(403, {"message": "no"}), listed]) as server, pytest.raises(http.Forbidden):
        connect(server.url + "/api/v2").network("8056c2e21c000001")


def test_v2_a_member_that_is_written_and_not_authorised_is_reported(run_module: RunModule) -> None:
    network, member = {"id": "8056c2e21c000001", "config": {}}, {"deviceId": NODE, "name": "a"}
    replies = [answer(200, network), answer(404, b""), answer(200, member), answer(200, member), answer(500, b"")]
    with (
        scripted(replies) as server,
        pytest.raises(ModuleFailed, match=f"the other settings of .* {NODE} were written"),
    ):
        run_module(
            "zerotier_member",
            url=server.url + "/api/v2",
            token=TOKEN,
            retries=0,
            network_id="8056c2e21c000001",
            address=NODE,
            name="b",
            authorized=True,
        )


@pytest.mark.parametrize("path", ["/api/v2", "/api/v2/", "/api/v2beta"])
def test_v2_is_asked_below_one_base(path: str) -> None:
    with scripted([answer(200, {"items": []})]) as server:
        assert connect(server.url + path).networks() == []
    assert server.requests[0].path == "/api/v2/network"


def test_v2_wants_a_network_group(run_module: RunModule, v2: Central) -> None:
    with pytest.raises(ModuleFailed, match="network_group is needed"):
        run_on(run_module, v2, "zerotier_network", name="n", network_group=None)


def test_v2_members_are_read(v2: Central) -> None:
    v2.members["8056c2e21c000001"] = {
        NODE: {
            "deviceId": NODE,
            "status": "rejected",
            "ipv4Assignments": ["10.0.0.1"],
            "ipv6Assignments": ["fd00::1"],
            "tags": ["blue"],
            "lastSeenTime": "2026-11-22T16:00:00Z",
            "lastSeenIp": "192.0.2.1",
            "agentVersion": "1.16.2",
        }
    }
    read = connect(v2.url).members("8056c2e21c000001")[0]
    assert (read.authorized, read.rejected, read.last_seen) == (False, True, 1795363200000)
    assert (read.ip_assignments, dict(read.tags)) == (("10.0.0.1", "fd00::1"), {"blue": 1})
