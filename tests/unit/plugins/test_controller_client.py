"""The client against a self-hosted controller: the lab's and, where given, the real daemon."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from typing import Any

import pytest
from ansible.module_utils import zerotier_connect as zt
from ansible.module_utils import zerotier_http as http
from ansible.module_utils import zerotier_model as model
from ansible.module_utils.zerotier_client import Client, NotApplied
from ansible.module_utils.zerotier_model import Presence

from .conftest import KINDS, RECORDED, Controller
from .doubles.scripted import Reply, answer, scripted

NODE = "aabbccddee"


def connect(url: str, token: str, **options: Any) -> Client:
    return zt.connect(zt.Connection(**{"api": "controller", "url": url, "token": token, "retries": 0, **options}))


@pytest.fixture
def client(controller: Controller) -> Client:
    return connect(controller.url, controller.token + "\n")


MakeNetwork = Callable[..., str]


def test_a_controller_is_recognised(controller: Controller) -> None:
    assert connect(controller.url, controller.token, api="auto").kind == "controller"


def test_a_wrong_token_is_unauthorized(controller: Controller) -> None:
    with pytest.raises(http.Unauthorized, match=r"authtoken\.secret"):
        connect(controller.url, "wrong").networks()


def test_networks_are_listed_with_their_settings(client: Client, make_network: MakeNetwork) -> None:
    ids = {make_network(name=f"n{number}", mtu=1400) for number in range(3)}
    networks = client.networks()
    assert {network.id for network in networks} == ids
    assert {network.mtu for network in networks} == {1400}
    assert [network.id for network in client.networks_named("n1")] == [
        network.id for network in networks if network.name == "n1"
    ]


def test_a_network_that_doesnt_exist_is_none(client: Client, controller: Controller) -> None:
    assert client.network(f"{controller.address}abcdef") is None


def test_members_of_a_network_that_doesnt_exist_are_an_error(client: Client, controller: Controller) -> None:
    with pytest.raises(http.NotFound, match="has no network"):
        client.members(f"{controller.address}abcdef")


WANTED = {
    "name": "all",
    "private": True,
    "enable_broadcast": False,
    "multicast_limit": 64,
    "mtu": 1400,
    "routes": [{"target": "10.1.0.0/16"}, {"target": "192.168.0.0/24", "via": "10.1.0.1"}, {"target": "fd00::/64"}],
    "ip_assignment_pools": [{"start": "10.1.0.10", "end": "10.1.255.250"}],
    "v4_assign_mode": {"zt": True},
    "v6_assign_mode": {"6plane": True},
    "dns": {"domain": "zt.lan", "servers": ["10.1.0.2"]},
    "tags": [{"id": 2, "default": None}, {"id": 1, "default": 0}],
    "capabilities": [{"id": 1000, "default": False, "rules": [{"type": "ACTION_ACCEPT"}]}],
    "rules": [
        {"type": "MATCH_ETHERTYPE", "etherType": 2048, "not": True},
        {"type": "ACTION_DROP"},
        {"type": "MATCH_IPV6_DEST", "ip": "FD00::/8"},
        {"type": "MATCH_CHARACTERISTICS", "mask": 18},
        {"type": "MATCH_ICMP", "icmpType": 8, "icmpCode": None},
        {"type": "ACTION_TEE", "address": "EFCC1B0947", "length": -1},
        {"type": "ACTION_ACCEPT"},
    ],
}


def test_every_setting_is_kept_and_compares_equal(client: Client, make_network: MakeNetwork) -> None:
    wanted = model.wanted_network(WANTED)
    created = client.create_network(wanted)
    assert model.differences(wanted, created.settings()) == {}
    again = client.network(created.id)
    assert again is not None
    assert model.differences(wanted, again.settings()) == {}


def test_emptied_settings_are_kept_too(client: Client, make_network: MakeNetwork) -> None:
    created = client.create_network(model.wanted_network(WANTED))
    empty = model.wanted_network(
        {"routes": [], "ip_assignment_pools": [], "rules": [], "tags": [], "capabilities": [], "dns": {}}
    )
    assert model.differences(empty, client.update_network(created.id, empty).settings()) == {}


def test_a_network_of_another_controller_is_refused(client: Client, controller: Controller) -> None:
    with pytest.raises(model.SettingsError, match="isn't this controller's"):
        client.create_network(model.wanted_network({"name": "x"}), network_id="1234567890abcdef")
    assert controller.ask("GET", "/controller/network/1234567890abcdef").status_code == 404


def test_a_chosen_id_is_used(client: Client, clean_controller: Controller) -> None:
    wanted = f"{clean_controller.address}00beef"
    assert client.create_network(model.wanted_network({"name": "x"}), network_id=wanted).id == wanted


def test_a_member_that_never_joined_is_pre_authorised(client: Client, make_network: MakeNetwork) -> None:
    network = make_network(name="n", routes=[{"target": "10.1.0.0/16"}])
    wanted = model.wanted_member(
        {
            "name": "gateway é",
            "authorized": True,
            "active_bridge": True,
            "no_auto_assign_ips": True,
            "ip_assignments": ["10.1.0.9", "10.1.0.8"],
            "tags": {"2": 9, "1": 7},
            "capabilities": [1001, 1000],
        }
    )
    member = client.update_member(network, NODE, wanted, exists=False)
    assert model.differences(wanted, member.settings()) == {}
    assert (member.address, member.client_version, member.identity) == (NODE, None, None)
    assert [entry.as_dict() for entry in client.members(network)] == [member.as_dict()]


def test_an_empty_network_has_no_members(client: Client, make_network: MakeNetwork) -> None:
    assert client.members(make_network(name="n")) == []


def test_removing_takes_the_rights_away_before_deleting(
    client: Client, make_network: MakeNetwork, monkeypatch: pytest.MonkeyPatch
) -> None:
    network = make_network(name="n", routes=[{"target": "10.1.0.0/16"}])
    client.update_member(
        network, NODE, model.wanted_member({"authorized": True, "ip_assignments": ["10.1.0.9"], "tags": {"1": 1}})
    )
    seen: list[model.Member | None] = []
    delete = client.delete_member

    def look_and_delete(network_id: str, address: str) -> None:
        seen.append(client.member(network_id, address))
        delete(network_id, address)

    monkeypatch.setattr(client, "delete_member", look_and_delete)
    client.remove_member(network, NODE)
    assert seen[0] is not None
    assert (seen[0].authorized, seen[0].ip_assignments, dict(seen[0].tags)) == (False, (), {})
    assert client.member(network, NODE) is None
    client.delete_member(network, NODE)  # it may be gone already


def test_many_members_are_written_and_read_back_at_once(client: Client, make_network: MakeNetwork) -> None:
    network = make_network(name="n", routes=[{"target": "10.1.0.0/16"}])
    changes = {
        f"{number:010x}": model.wanted_member({"name": f"m{number}", "authorized": True, "tags": {"1": number}})
        for number in range(1, 61)
    }
    assert client.update_members(network, changes, []) == {}
    assert {member.address: member.name for member in client.members(network)} == {
        address: wanted["name"] for address, wanted in changes.items()
    }


def test_a_dropped_setting_is_reported(client: Client, make_network: MakeNetwork) -> None:
    network = make_network(name="n")
    # What the checks before a write refuse, and the controller would silently drop.
    with pytest.raises(NotApplied, match="mtu: wanted 500, found 1280"):
        client.update_network(network, model.NetworkSettings(mtu=500))
    with pytest.raises(NotApplied, match="ip_assignments"):
        client.update_member(network, NODE, model.MemberSettings(ip_assignments=["10.1.0.1/24"]))
    failures = client.update_members(network, {NODE: model.MemberSettings(ip_assignments=["10.1.0.1/24"])}, [NODE])
    assert "ip_assignments" in failures[NODE]


def test_a_member_written_in_upper_case_beside_us_is_read_in_lower_case(
    client: Client, make_network: MakeNetwork, controller: Controller
) -> None:
    network = make_network(name="n")
    controller.ask("POST", f"/controller/network/{network}/member/{NODE.upper()}", {"authorized": True})
    assert [member.address for member in client.members(network)] == [NODE]


def test_peers_tell_presence(client: Client) -> None:
    assert all(isinstance(entry, Presence) for entry in client.presence().values())


# What the recorded controller said, word for word


def _recorded(name: str) -> Reply:
    text = next((RECORDED).glob(f"*{name}.txt")).read_text()
    head, _, body = text[text.index("HTTP/1.1") :].partition("\n\n")
    content = body.rstrip("\n").encode()
    lines = [line for line in head.split("\n") if not line.startswith("Content-Length")]
    lines += [f"Content-Length: {len(content)}", "Connection: close"]
    return Reply("\r\n".join(lines).encode() + b"\r\n\r\n" + content)


def test_recorded_networks_are_read() -> None:
    with scripted([_recorded("net-list-unstable")]) as server:
        networks = connect(server.url, "t").networks()
    lab = next(network for network in networks if network.name == "lab")
    assert lab.routes == ({"target": "10.147.17.0/24", "via": None},)
    assert lab.ip_assignment_pools == ({"start": "10.147.17.10", "end": "10.147.17.250"},)
    assert lab.dns is None  # "dns": []
    assert lab.total_member_count is not None


def test_recorded_members_are_read() -> None:
    with scripted([_recorded("mem-list-unstable")]) as server:
        members = {member.address: member for member in connect(server.url, "t").members("5d38c9707d4b7fb0")}
    assert members["8eb2cce09c"].ip_assignments == ("10.147.17.22",)
    assert (members["8eb2cce09c"].authorized, members["8eb2cce09c"].client_version) == (True, "1.14.1")
    assert (members["acd93014a0"].authorized, members["acd93014a0"].client_version) == (False, None)


def test_recorded_peers_are_read() -> None:
    with scripted([_recorded("peers")]) as server:
        presence = connect(server.url, "t").presence()
    assert presence["6579e9f909"] == Presence(1795346693604, "10.99.0.11", "1.14.1")
    assert presence["62f865ae71"] == Presence(None, None, None)


@pytest.mark.parametrize("name", ["malformed-net", "malformed-mem", "malformed-create"])
def test_a_recorded_500_is_a_server_failure_even_where_its_body_isnt_json(name: str) -> None:
    with scripted([_recorded(name)]) as server, pytest.raises(http.ServerFailure, match="parse_error"):
        connect(server.url, "t").networks()


def test_a_recorded_write_that_was_half_dropped_is_reported() -> None:
    status, kept = _recorded("01-status"), _recorded("net-set-all")
    wanted = model.NetworkSettings(
        routes=[{"target": "10.1.0.0/16", "via": None}, {"target": "10.7.0.0/16", "via": None}]
    )
    with scripted([status, kept, kept]) as server, pytest.raises(NotApplied, match="routes"):
        connect(server.url, "t").update_network("5d38c9707d00beef", wanted)


# Other controllers


# Nothing is half written in silence


def test_a_member_that_couldnt_be_read_back_was_written() -> None:
    with (
        scripted([answer(200, {}), answer(500, b"")]) as server,
        pytest.raises(http.ServerFailure, match=r"the member aaaaaaaaaa was written, but .*500"),
    ):
        connect(server.url, "t").update_member("8056c2e21c000001", "aaaaaaaaaa", {"name": "a"})


def test_a_created_network_whose_settings_failed_is_named() -> None:
    replies = [answer(200, {"controller": True}), answer(200, {"id": "8056c2e21c000001"}), answer(401, {})]
    with scripted(replies) as server, pytest.raises(http.Unauthorized, match="8056c2e21c000001 was created, but"):
        connect(server.url, "t").create_network({"mtu": 1500})


def test_a_member_that_was_cleared_and_not_deleted_is_reported() -> None:
    with (
        scripted([answer(200, {}), answer(500, b"")]) as server,
        pytest.raises(http.ServerFailure, match="cleared, but"),
    ):
        connect(server.url, "t").remove_member("8056c2e21c000001", "aaaaaaaaaa")


def test_when_a_set_cant_be_read_back_every_written_member_is_reported() -> None:
    changes: dict[str, model.MemberSettings] = {"aaaaaaaaaa": {"name": "a"}, "bbbbbbbbbb": {"name": "b"}}
    with scripted([answer(200, {}), answer(409, b""), answer(200, b"<html>")]) as server:
        failures = connect(server.url, "t", parallel=1).update_members("8056c2e21c000001", changes, changes)
    assert "written, but it couldn't be read back" in failures["aaaaaaaaaa"]
    assert "409" in failures["bbbbbbbbbb"]


def test_once_the_token_is_refused_the_rest_isnt_tried() -> None:
    changes: dict[str, model.MemberSettings] = {f"{number:010x}": {"name": "a"} for number in range(1, 6)}
    with scripted([answer(200, {}), answer(401, {}), answer(401, {})]) as server:
        failures = connect(server.url, "t", parallel=1).update_members("8056c2e21c000001", changes, changes)
    assert sorted(failures) == sorted(changes)
    assert failures["0000000005"].startswith("not tried: ")
    # Two writes, and the attempt to read back what the first of them did.
    assert len(server.requests) == 3


def test_without_the_bulk_endpoints_members_are_read_one_by_one() -> None:
    member = {"id": NODE, "address": NODE, "authorized": True}
    gone = answer(404, b"")
    replies = [gone, answer(200, {NODE: 1, "0000000009": 1}), answer(200, member), gone]
    with scripted(replies) as server:
        members = connect(server.url, "t", parallel=1).members("5d38c9707d4b7fb0")
    assert [entry.address for entry in members] == [NODE]
    assert [request.path.rsplit("/", 1)[-1] for request in server.requests] == ["member", "member", NODE, "0000000009"]


def test_without_the_bulk_endpoints_networks_are_read_one_by_one() -> None:
    network = {"id": "5d38c9707d4b7fb0", "name": "lab"}
    replies = [answer(404, b""), answer(200, {"controller": True}), answer(200, [network["id"]]), answer(200, network)]
    with scripted(replies) as server:
        assert [entry.name for entry in connect(server.url, "t", parallel=1).networks()] == ["lab"]


def test_a_node_without_a_controller_says_so() -> None:
    with scripted([answer(404, b"")]) as server, pytest.raises(http.NotFound, match="no controller built in"):
        connect(server.url, "t").networks()


def test_another_service_isnt_taken_for_a_controller() -> None:
    with (
        scripted([answer(200, {"hello": 1})]) as server,
        pytest.raises(model.MalformedAnswer, match="isn't a ZeroTier"),
    ):
        connect(server.url, "t", api="auto")


@pytest.mark.parametrize(
    ("member", "message"),
    [
        ({"id": NODE, "authorized": "yes"}, "authorized: true or false was expected, not a text"),
        ({"id": NODE, "tags": "x"}, "tags: a list was expected"),
        ({"id": NODE, "tags": [[1]]}, "a pair of id and value"),
        ({"id": NODE, "ipAssignments": ["ten"]}, "a list of IP addresses"),
        ({"id": "xyz"}, "a node's address"),
        ({}, "a node's address was expected, not null"),
        ("text", "an object was expected, not a text"),
        ({"id": NODE, "vMajor": "1"}, "a whole number"),
    ],
)
def test_a_malformed_member_is_an_error_that_names_the_field(member: object, message: str) -> None:
    with scripted([answer(200, {"data": [member]})]) as server, pytest.raises(model.MalformedAnswer, match=message):
        connect(server.url, "t").members("5d38c9707d4b7fb0")


def test_nulls_are_nothing() -> None:
    member = {"id": NODE, "name": None, "tags": None, "ipAssignments": None, "capabilities": None, "vMajor": None}
    with scripted([answer(200, {"data": [member]})]) as server:
        read = connect(server.url, "t").members("5d38c9707d4b7fb0")[0]
    assert (read.name, read.ip_assignments, dict(read.tags), read.capabilities) == ("", (), {}, ())
    with scripted([answer(200, {"data": None})]) as server:
        assert connect(server.url, "t").members("5d38c9707d4b7fb0") == []


@pytest.mark.parametrize("url", ["", "ftp://x", "127.0.0.1:9993", "http://", "http://user:pass@host"])
def test_a_url_that_cant_be_is_refused(url: str) -> None:
    with pytest.raises(model.SettingsError) as caught:
        zt.connect(zt.Connection(api="controller", url=url or " ", token="t"))
    assert "pass@" not in str(caught.value)


def test_no_representation_shows_the_token(controller: Controller) -> None:
    connection = zt.Connection(api="controller", url=controller.url, token=controller.token)
    assert controller.token not in repr(connection) + repr(zt.connect(connection))


def test_every_request_uses_a_connection_of_its_own(client: Client, make_network: MakeNetwork) -> None:
    network = make_network(name="n")
    with scripted([answer(200, {"data": []}), answer(200, {"data": []})]) as server:
        connected = connect(server.url, "t")
        connected.members(network)
        connected.members(network)
    assert [request.headers["connection"] for request in server.requests] == ["close", "close"]


def test_the_real_daemon_takes_part() -> None:
    if "daemon" not in KINDS:
        pytest.skip(
            "tests of a controller ran against the lab's only: ZEROTIER_ONE=<zerotier-one binary> adds the real one"
        )
    assert os.access(os.environ["ZEROTIER_ONE"], os.X_OK)


def test_the_recordings_are_there() -> None:
    names = [path.name for path in RECORDED.glob("*.txt")]
    assert len(names) > 40
    assert all(re.match(r"03-\d\d-", name) for name in names)
