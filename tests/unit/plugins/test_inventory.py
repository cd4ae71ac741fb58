"""The inventory: what hosts members become, and the plugin as Ansible runs it."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible.errors import AnsibleParserError
from ansible.inventory.data import InventoryData
from ansible.module_utils import zerotier_expressions as expressions
from ansible.module_utils import zerotier_inventory as transform
from ansible.parsing.dataloader import DataLoader
from ansible.plugins.loader import init_plugin_loader, inventory_loader

from .conftest import ROOT, Controller
from .doubles.scripted import answer, scripted

NOW = 1_800_000_000.0
NWID, OTHER = "8056c2e21c000001", "8056c2e21c000002"
TAGS = {"role": {"id": 1, "enums": {"app": 1, "gateway": 2}}, "rights": {"id": 3, "flags": {"read": 1, "write": 2}}}


def network(**fields: Any) -> dict[str, Any]:
    return {"id": NWID, "name": "parkmesh", "v6_assign_mode": {}, **fields}


def member(address: str, **fields: Any) -> dict[str, Any]:
    return {"address": address, "authorized": True, "ip_assignments": [], "tags": {}, **fields}


def hosts(*records: dict[str, Any], notes: list[str] | None = None, **options: Any) -> dict[str, transform.Host]:
    made = transform.hosts(
        records, transform.Options(**options), now=NOW, note=(lambda text: None) if notes is None else notes.append
    )
    return {host.name: host for host in made}


def record(*members: dict[str, Any], **fields: Any) -> dict[str, Any]:
    return {"network": network(), "definitions": TAGS, "members": list(members), **fields}


A, B, C = "aaaaaaaaaa", "bbbbbbbbbb", "cccccccccc"


def test_a_member_becomes_a_host_with_its_variables() -> None:
    host = hosts(
        record(
            member(A, name="gw", ip_assignments=["10.1.0.9", "fd00::9", "10.1.0.8"], tags={"1": 2, "9": 5}, last_seen=1)
        )
    )["gw"]
    variables = host.variables
    assert variables["ansible_host"] == "10.1.0.8"
    assert variables["zerotier_tags"] == {"role": "gateway", "9": 5}
    assert variables["zerotier_networks"][0]["network_id"] == NWID
    assert {name for name in variables if not name.startswith("zerotier_")} == {"ansible_host"}


@pytest.mark.parametrize(
    ("fields", "groups"),
    [
        ({}, {"authorized", "offline", "network_parkmesh"}),
        ({"authorized": False}, {"pending", "offline", "network_parkmesh"}),
        ({"authorized": False, "rejected": True}, {"rejected", "offline", "network_parkmesh"}),
        ({"last_seen": int(NOW * 1000) - 180_000}, {"authorized", "online", "network_parkmesh"}),
        ({"last_seen": int(NOW * 1000) - 181_000}, {"authorized", "offline", "network_parkmesh"}),
        ({"last_seen": 0}, {"authorized", "offline", "network_parkmesh"}),
        ({"tags": {"1": 1}}, {"authorized", "offline", "network_parkmesh", "role_app"}),
        ({"tags": {"1": 7}}, {"authorized", "offline", "network_parkmesh", "role_7"}),
        ({"tags": {"3": 3}}, {"authorized", "offline", "network_parkmesh", "rights_read", "rights_write"}),
        ({"tags": {"3": 0}}, {"authorized", "offline", "network_parkmesh", "rights_0"}),
        ({"tags": {"9": 4}}, {"authorized", "offline", "network_parkmesh", "tag_9_4"}),
    ],
)
def test_the_groups_of_a_member(fields: dict[str, Any], groups: set[str]) -> None:
    host = hosts(record(member(A, **fields)))[A]
    assert set(host.groups) == {f"zerotier_{group}" for group in groups}


def test_a_node_of_several_networks_is_one_host() -> None:
    second = record(
        member(A, name="late", authorized=True, ip_assignments=["10.2.0.1"], tags={"1": 1}, last_seen=int(NOW * 1000)),
        network=network(id=OTHER, name="second"),
    )
    made = hosts(record(member(A, name="first", authorized=False, tags={"1": 2})), second)
    assert list(made) == ["first"]
    host = made["first"]
    assert host.variables["zerotier_authorized"] is True
    assert host.variables["zerotier_online"] is True
    assert host.variables["ansible_host"] == "10.2.0.1"
    assert host.variables["zerotier_tags"] == {"role": "gateway"}
    assert {"zerotier_role_app", "zerotier_role_gateway", "zerotier_network_second"} <= set(host.groups)
    assert [entry["network_name"] for entry in host.variables["zerotier_networks"]] == ["parkmesh", "second"]


@pytest.mark.parametrize(
    ("preference", "name"),
    [
        (("name", "address"), "gw"),
        (("address", "name"), A),
        (("description",), "the gate".replace(" ", "-")),
        (("managed_ipv4",), "10.1.0.9"),
        (("managed_ipv6",), "fd00::9"),
        (("physical_address",), "192.0.2.1"),
        (("6plane", "name"), "gw"),
        ((), A),
    ],
)
def test_the_first_source_with_a_value_names_the_host(preference: tuple[str, ...], name: str) -> None:
    fields = {
        "name": "gw",
        "description": "the-gate",
        "ip_assignments": ["10.1.0.9", "fd00::9"],
        "physical_address": "192.0.2.1",
    }
    assert list(hosts(record(member(A, **fields)), hostnames=preference)) == [name]


@pytest.mark.parametrize("name", ["", "two words", "{{ 1 }}", "a,b", "a\nb", "[1:9]", "!x", "all", "localhost", "../x"])
def test_a_name_that_cant_be_a_hosts_is_passed_over(name: str) -> None:
    notes: list[str] = []
    assert list(hosts(record(member(A, name=name)), notes=notes)) == [A]
    assert len(notes) == (1 if name else 0)


def test_two_members_with_one_name_stay_two_hosts() -> None:
    assert list(hosts(record(member(B, name="gw"), member(A, name="gw")))) == ["gw", B]


def test_computed_addresses_count_where_the_network_gives_them() -> None:
    modes = {"rfc4193": True, "6plane": True}
    computed = record(member(A), network=network(v6_assign_mode=modes))
    assert hosts(computed)[A].variables["ansible_host"].startswith("fd80:56c2:e21c:0:199:93aa")
    assert hosts(computed, ansible_host=["6plane"])[A].variables["ansible_host"].startswith("fc")
    assert "ansible_host" not in hosts(record(member(A)))[A].variables
    assert "ansible_host" not in hosts(computed, ansible_host=[])[A].variables


@pytest.mark.parametrize(
    ("options", "names"),
    [
        ({}, {"a", "b", "c"}),
        ({"include_filters": [{"authorized": True}]}, {"a", "c"}),
        ({"include_filters": [{"online": True}]}, {"c"}),
        ({"include_filters": [{"name": "a*"}, {"name": ["b", "x"]}]}, {"a", "b"}),
        ({"include_filters": [{"tags": {"role": "app"}}]}, {"a"}),
        ({"include_filters": [{"tags": {"role": None}}]}, {"a", "b"}),
        ({"include_filters": [{"tags": {"role": "gateway"}, "authorized": True}]}, set()),
        ({"include_filters": [{"network": "other"}]}, set()),
        ({"include_filters": [{"network": "8056c2e2*"}]}, {"a", "b", "c"}),
        ({"exclude_filters": [{"authorized": False}]}, {"a", "c"}),
        ({"exclude_filters": [{"address": "c*"}]}, {"a", "b"}),
    ],
)
def test_filters(options: dict[str, Any], names: set[str]) -> None:
    members = [
        member(A, name="a", tags={"1": 1}),
        member(B, name="b", authorized=False, tags={"1": 2}),
        member(C, name="c", last_seen=int(NOW * 1000)),
    ]
    assert set(hosts(record(*members), **options)) == names


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"hostnames": ["nickname"]}, "'nickname' is none of"),
        ({"hostvars_prefix": "zero-tier "}, "hostvars_prefix"),
        ({"ansible_host": ["address"]}, "ansible_host"),
        ({"include_filters": [{}]}, "include_filters.0."),
        ({"include_filters": [{"color": 1}]}, "'color' is none of"),
        ({"exclude_filters": [{"online": "yes"}]}, "exclude_filters.0..online"),
        ({"exclude_filters": [{"tags": ["a"]}]}, "tags: a dictionary"),
    ],
)
def test_an_option_that_cant_be_is_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(transform.InventoryOptionError, match=message):
        hosts(record(), **options)


# The plugin in Ansible's own machinery

Parse = Callable[..., InventoryData]


@pytest.fixture(scope="session")
def ansible_plugins() -> None:
    """Ansible's own plugins, such as lookups, are found."""
    init_plugin_loader()
    inventory_loader.add_directory(str(ROOT / "inventory_plugins"))


@pytest.fixture
def parse(ansible_plugins: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Parse:
    """Parses one inventory file with the plugin and returns what it put into the inventory."""
    for name in ("ZEROTIER_TOKEN", "ZEROTIER_CENTRAL_TOKEN", "ZEROTIER_TOKEN_FILE", "ZEROTIER_URL"):
        monkeypatch.delenv(name, raising=False)

    def run(config: dict[str, Any], *, cache: bool = True) -> InventoryData:
        file = tmp_path / "zerotier.yml"
        file.write_text(yaml.safe_dump({"plugin": "zerotier", **config}))
        plugin = inventory_loader.get("zerotier")
        assert plugin.verify_file(str(file))
        inventory = InventoryData()
        plugin.parse(inventory, DataLoader(), str(file), cache=cache)
        if plugin.get_option("cache"):
            plugin.update_cache_if_changed()
        return inventory

    return run


@pytest.fixture
def fleet(clean_controller: Controller) -> dict[str, Any]:
    """A network with three members on the controller, and the options that read it."""
    made = clean_controller.ask(
        "POST", "/controller/network", {"name": "parkmesh", "routes": [{"target": "10.242.0.0/16"}]}
    ).json()["id"]
    for address, body in {
        A: {"name": "slot-1", "authorized": True, "ipAssignments": ["10.242.0.11"], "tags": [[1, 1]]},
        B: {"name": "gateway-a", "authorized": True, "ipAssignments": ["10.242.1.1"], "tags": [[1, 2], [2, 1]]},
        C: {"name": "{{ lookup('pipe', 'id') }}"},
    }.items():
        clean_controller.ask("POST", f"/controller/network/{made}/member/{address}", body)
    return {
        "api": "controller",
        "url": clean_controller.url,
        "token_file": clean_controller.token_file,
        "networks": ["parkmesh"],
        "retries": 0,
        "tags": {"role": {"id": 1, "enums": {"app": 1, "gateway": 2}}, "community": {"id": 2}},
    }


def test_members_of_a_controller_become_hosts(parse: Parse, fleet: dict[str, Any]) -> None:
    inventory = parse(
        {
            **fleet,
            "groups": {"gateways": "zerotier_tags.role | default('') == 'gateway'"},
            "keyed_groups": [{"key": "zerotier_tags.community | default('none') | string", "prefix": "site"}],
            "compose": {"shown": "zerotier_name | upper"},
        }
    )
    groups = inventory.get_groups_dict()
    assert set(inventory.hosts) == {"slot-1", "gateway-a", C}
    assert groups["zerotier_role_app"] == ["slot-1"]
    assert groups["zerotier_role_gateway"] == groups["gateways"] == groups["site_1"] == ["gateway-a"]
    assert groups["zerotier_pending"] == [C]
    assert inventory.hosts["gateway-a"].vars["ansible_host"] == "10.242.1.1"
    assert inventory.hosts["gateway-a"].vars["shown"] == "GATEWAY-A"


CONSTRUCTED: dict[str, Any] = {
    "groups": {
        "gateways": "zerotier_tags.role | default('') == 'gateway'",
        "odd": "zerotier_odd",
        "missing": "zerotier_tags.nothing.at_all",
        "every": "true",
    },
    "keyed_groups": [
        {"key": "zerotier_tags.role | string", "prefix": "role"},
        {"key": "zerotier_tags", "prefix": "tag", "parent_group": "tags"},
        {"key": "zerotier_ip_assignments | length | string", "prefix": "addresses", "separator": ""},
    ],
    "compose": {"zerotier_odd": "(zerotier_address | int(base=16)) % 2 == 1"},
}


@pytest.mark.parametrize(
    "spoiler", ["inventory_hostname != ''", "lookup('env', 'NOTHING') == ''", "zerotier_name == '"]
)
def test_hosts_that_are_alike_are_in_the_groups_that_each_would_be_in(
    parse: Parse, clean_controller: Controller, monkeypatch: pytest.MonkeyPatch, spoiler: str
) -> None:
    made = clean_controller.ask("POST", "/controller/network", {"name": "parkmesh"}).json()["id"]
    for number in range(1, 25):
        body = {"tags": [[1, number % 3]] if number % 4 else [], "ipAssignments": ["10.0.0.1"] * (number % 2)}
        clean_controller.ask("POST", f"/controller/network/{made}/member/{number:010x}", body)
    reach = {"url": clean_controller.url, "token_file": clean_controller.token_file, "tags": {"role": {"id": 1}}}
    evaluated: list[str] = []
    plugin = type(inventory_loader.get("zerotier"))
    construct = plugin._add_host_to_composed_groups

    def counted(self: Any, groups: Any, variables: Any, host: str, **options: Any) -> None:
        evaluated.append(host)
        construct(self, groups, variables, host, **options)

    monkeypatch.setattr(plugin, "_add_host_to_composed_groups", counted)
    alike = parse({**reach, **CONSTRUCTED}).get_groups_dict()
    assert len(evaluated) < 24
    evaluated.clear()
    # An expression that more than the plugin's own variables decide makes every host be evaluated.
    each = parse({**reach, **CONSTRUCTED, "groups": {**CONSTRUCTED["groups"], "spoiler": spoiler}}).get_groups_dict()
    assert len(evaluated) == 24
    each.pop("spoiler", None)
    assert alike == each
    assert len(alike["odd"]) == 12


@pytest.mark.parametrize(
    ("expression", "names"),
    [
        ("zerotier_tags.role == 'app'", {"zerotier_tags"}),
        ("a | default(b) in [c d]", None),
        ("now().hour > zerotier_x", {"now", "zerotier_x"}),
        ("lookup('env', 'X')", {"lookup"}),
        ("100 | random < 10", None),
        ("zerotier_ip_assignments | ansible.builtin.shuffle | first", None),
        ("'{{ zerotier_name }}' == 'a'", None),
        ("[x for x in y", None),
        (True, set()),
        ("true", set()),
    ],
)
def test_the_names_that_an_expression_uses(expression: object, names: set[str] | None) -> None:
    assert expressions.names_used([expression]) == names


def test_what_an_api_says_is_never_a_template(parse: Parse, fleet: dict[str, Any]) -> None:
    inventory = parse({**fleet, "compose": {"copied": "zerotier_name"}})
    variables = inventory.hosts[C].vars
    assert variables["zerotier_name"] == variables["copied"] == "{{ lookup('pipe', 'id') }}"


@pytest.mark.parametrize("how", ["id", "all", "token", "environment", "template", "planes"])
def test_ways_to_say_where_the_members_are(
    parse: Parse, fleet: dict[str, Any], controller: Controller, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    config = dict(fleet)
    match how:
        case "id":
            config["networks"] = [controller.ask("GET", "/controller/network").json()[0].upper()]
        case "all":
            del config["networks"]
        case "token":
            del config["token_file"]
            config["token"] = controller.token + "\n"
        case "environment":
            del config["token_file"], config["url"]
            monkeypatch.setenv("ZEROTIER_TOKEN", controller.token)
            monkeypatch.setenv("ZEROTIER_URL", controller.url)
        case "template":
            config["url"] = "http://127.0.0.1:{{ " + str(controller.port - 1) + " + 1 }}"
            config["token"] = "{{ lookup('ansible.builtin.file', '" + config.pop("token_file") + "') }}"
            config["networks"] = "{{ ['park' ~ 'mesh'] }}"
            config["include_filters"] = [{"network": "{{ (inventory_dir | length > 1) | ternary('parkmesh', 'x') }}"}]
            config["tags"] = "{{ {'role': {'id': 1, 'enums': {'app': 1}}} }}"
        case "planes":
            plane = {key: config.pop(key) for key in ("api", "url", "token_file", "networks", "tags")}
            config["control_planes"] = [plane, {**plane, "networks": []}]
    inventory = parse(config)
    assert set(inventory.hosts) == {"slot-1", "gateway-a", C}
    assert inventory.get_groups_dict()["zerotier_role_app"] == ["slot-1"]


def test_a_token_in_the_environment_yields_to_a_token_file(
    parse: Parse, fleet: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ZEROTIER_CENTRAL_TOKEN", "some-other-token")
    assert len(parse(fleet).hosts) == 3


def _closed_url() -> str:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return f"http://127.0.0.1:{listener.getsockname()[1]}"


UNREACHABLE: list[tuple[dict[str, Any], str]] = [
    ({"url": "closed"}, "refused"),
    ({"token_file": "/nonexistent"}, "can't be read"),
    ({"networks": ["nobody"]}, "has no network 'nobody'"),
    ({"networks": ["8056c2e21c000009"]}, "has no network '8056c2e21c000009'"),
    ({"url": "{{ missing }}"}, "template"),
    ({"token_file": None}, "token or token_file is needed"),
    ({"url": "{{ '' }}"}, "url is empty"),
]


@pytest.mark.parametrize(("change", "message"), UNREACHABLE)
def test_a_control_plane_that_cant_be_asked_fails_the_file(
    parse: Parse, fleet: dict[str, Any], change: dict[str, Any], message: str
) -> None:
    change = {name: _closed_url() if value == "closed" else value for name, value in change.items()}
    with pytest.raises(AnsibleParserError, match=message):
        parse({**fleet, **change})


@pytest.mark.parametrize(("change", "message"), UNREACHABLE)
@pytest.mark.parametrize("mode", ["warn", "ignore"])
def test_a_lenient_file_parses_without_it(
    parse: Parse,
    fleet: dict[str, Any],
    monkeypatch: pytest.MonkeyPatch,
    change: dict[str, Any],
    message: str,
    mode: str,
) -> None:
    warnings: list[str] = []
    monkeypatch.setattr(
        "ansible.utils.display.Display.warning", lambda self, text, *rest, **more: warnings.append(text)
    )
    change = {name: _closed_url() if value == "closed" else value for name, value in change.items()}
    assert parse({**fleet, **change, "unreachable": mode}).hosts == {}
    assert [message in text for text in warnings if "zerotier inventory" in text] == ([True] if mode == "warn" else [])


def test_a_lenient_file_goes_on_with_the_other_control_planes(parse: Parse, fleet: dict[str, Any]) -> None:
    plane = {key: fleet[key] for key in ("api", "url", "token_file", "networks")}
    config = {"unreachable": "ignore", "retries": 0, "control_planes": [{**plane, "url": _closed_url()}, plane]}
    assert len(parse(config).hosts) == 3


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"token": "wrong", "token_file": None}, "401 the token isn't accepted"),
        ({"token": "a\nb", "token_file": None}, "the token holds white space"),
        ({"api": "central_v9"}, "central_v9"),
        ({"url": "ftp://x"}, "no URL of a control plane"),
        ({"tags": {"role": 1}}, "numeric id"),
        ({"hostnames": ["nickname"]}, "nickname"),
        ({"control_planes": [{"uri": "x"}]}, "uri is no option"),
        ({"strict": True, "groups": {"g": "undefined_thing.x"}}, "g"),
    ],
)
def test_what_is_wrong_fails_in_lenient_files_too(
    parse: Parse, fleet: dict[str, Any], change: dict[str, Any], message: str
) -> None:
    with pytest.raises(Exception, match=message) as caught:
        parse({**fleet, **change, "unreachable": "ignore"})
    assert "wrong" not in str(caught.value)


@pytest.mark.parametrize(
    "reply", [answer(200, b"<html>login</html>"), answer(200, {"data": [{"id": 5}]}), answer(403, b"")]
)
def test_an_answer_that_makes_no_sense_fails(parse: Parse, reply: Any) -> None:
    with scripted([reply]) as server, pytest.raises(AnsibleParserError, match="zerotier inventory"):
        parse({"api": "controller", "url": server.url, "token": "t", "unreachable": "ignore", "presence": False})


@pytest.mark.parametrize(("mode", "fails"), [("fail", True), ("warn", False)])
def test_a_control_plane_that_is_asked_too_often_is_as_one_that_doesnt_answer(
    parse: Parse, mode: str, fails: bool
) -> None:
    config = {"api": "controller", "token": "0fTheTests", "unreachable": mode, "presence": False, "retries": 0}
    with scripted([answer(429, b"slow down")]) as server:
        if fails:
            with pytest.raises(AnsibleParserError, match="429 too many requests"):
                parse({**config, "url": server.url})
        else:
            assert parse({**config, "url": server.url}).hosts == {}


def test_the_cache_answers_until_the_file_or_the_members_are_asked_anew(
    parse: Parse, fleet: dict[str, Any], controller: Controller, tmp_path: Path
) -> None:
    caching = {**fleet, "cache": True, "cache_plugin": "jsonfile", "cache_connection": str(tmp_path / "cache")}
    assert len(parse(caching).hosts) == 3
    network_id = controller.ask("GET", "/controller/network").json()[0]
    controller.ask("DELETE", f"/controller/network/{network_id}/member/{C}")
    cached = parse(caching)
    assert len(cached.hosts) == 3
    assert cached.get_groups_dict()["zerotier_role_app"] == ["slot-1"]
    assert controller.token not in "".join(file.read_text() for file in (tmp_path / "cache").iterdir())
    assert len(parse(caching, cache=False).hosts) == 2
    assert len(parse({**caching, "networks": []}).hosts) == 2


def test_a_partial_answer_isnt_cached(parse: Parse, fleet: dict[str, Any], tmp_path: Path) -> None:
    caching = {"cache": True, "cache_plugin": "jsonfile", "cache_connection": str(tmp_path / "cache")}
    plane = {key: fleet[key] for key in ("api", "url", "token_file", "networks")}
    parse(
        {**caching, "unreachable": "ignore", "retries": 0, "control_planes": [{**plane, "url": _closed_url()}, plane]}
    )
    assert [file for file in (tmp_path / "cache").glob("*") if file.is_file()] == []


@pytest.mark.parametrize(("name", "taken"), [("zerotier.yml", True), ("lab.zerotier.yaml", True), ("zt.yml", False)])
def test_the_plugin_takes_its_own_files(ansible_plugins: None, tmp_path: Path, name: str, taken: bool) -> None:
    (tmp_path / name).write_text("plugin: zerotier\n")
    assert inventory_loader.get("zerotier").verify_file(str(tmp_path / name)) is taken


def _ansible(
    program: str, *arguments: str, environment: dict[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Run a program of Ansible's in the project's root, whose ansible.cfg it finds there."""
    return subprocess.run(
        [str(Path(sys.executable).parent / program), *arguments],
        env={**os.environ, "ANSIBLE_NOCOLOR": "1"} if environment is None else environment,
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def test_ansible_inventory_lists_the_hosts(fleet: dict[str, Any], tmp_path: Path) -> None:
    file = tmp_path / "zerotier.yml"
    file.write_text(yaml.safe_dump({"plugin": "zerotier", **fleet}))
    done = _ansible("ansible-inventory", "-i", str(file), "--list", "--export")
    assert done.returncode == 0, done.stderr
    listed = json.loads(done.stdout)
    assert set(listed["_meta"]["hostvars"]) == {"slot-1", "gateway-a", C}


def test_a_hostile_name_stays_text_in_a_task(fleet: dict[str, Any], tmp_path: Path) -> None:
    file = tmp_path / "zerotier.yml"
    file.write_text(yaml.safe_dump({"plugin": "zerotier", **fleet}))
    done = _ansible("ansible", C, "-i", str(file), "-m", "ansible.builtin.debug", "-a", "var=zerotier_name")
    assert done.returncode == 0, done.stderr
    assert "{{ lookup('pipe', 'id') }}" in done.stdout.replace("''", "'")
    assert "uid=" not in done.stdout


def test_awx_syncs_it(fleet: dict[str, Any], tmp_path: Path) -> None:
    """What AWX runs in the project's root, with a credential's variables in an environment that has little else."""
    file = tmp_path / "overlay.zerotier.yml"
    plain = {key: value for key, value in fleet.items() if key not in ("url", "token_file")}
    file.write_text(yaml.safe_dump({"plugin": "zerotier", **plain}))
    environment = {
        "PATH": f"{Path(sys.executable).parent}:/usr/bin:/bin",
        "HOME": str(tmp_path),
        "ZEROTIER_URL": fleet["url"],
        "ZEROTIER_TOKEN": Path(fleet["token_file"]).read_text(),
    }
    arguments = ["--list", "--export", "-i", str(file), "--playbook-dir", str(tmp_path)]
    done = _ansible("ansible-inventory", *arguments, environment=environment)
    assert done.returncode == 0, done.stderr
    listed = json.loads(done.stdout)
    assert listed["zerotier_role_gateway"]["hosts"] == ["gateway-a"]
    # AWX keeps what isn't marked as unsafe for a template.
    assert listed["_meta"]["hostvars"][C]["zerotier_name"] == {"__ansible_unsafe": "{{ lookup('pipe', 'id') }}"}
    assert environment["ZEROTIER_TOKEN"].strip() not in done.stdout + done.stderr
