"""The lab's names, address plan and settings: what is chosen, and what is refused."""

import shutil
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lab.commands import down, summary
from lab.machine import engine, names, ports, processes, state, subnets
from lab.machine.errors import LabError

NETWORKS = st.builds(
    lambda second, prefix: IPv4Network((f"10.{second}.0.0", prefix), strict=False),
    st.integers(0, 255),
    st.integers(10, 24),
)


@given(lab=st.text(min_size=1), taken=st.lists(NETWORKS, max_size=12))
def test_chosen_networks_overlap_nothing(lab: str, taken: list[IPv4Network]) -> None:
    try:
        chosen = subnets.choose(lab, taken)
    except LabError:
        free = [
            second
            for second in range(subnets.FIRST, subnets.FIRST + subnets.COUNT)
            if second != 88 and not any(IPv4Network(f"10.{second}.0.0/16").overlaps(other) for other in taken)
        ]
        assert len(free) < 2
        return
    assert set(chosen) == {"vpc", "core", "site-a", "site-b"}
    assert chosen["vpc"].prefixlen == 16
    everything = [*taken, subnets.OVERLAY]
    for index, network in enumerate(chosen.values()):
        assert not any(network.overlaps(other) for other in everything)
        assert not any(network.overlaps(other) for other in list(chosen.values())[index + 1 :])


def test_the_same_lab_gets_the_same_networks() -> None:
    assert subnets.choose("demo-123456", []) == subnets.choose("demo-123456", [])
    assert subnets.choose("demo-123456", []) != subnets.choose("demo-654321", [])


def test_a_fully_routed_range_is_refused_in_words() -> None:
    with pytest.raises(LabError, match="no two free networks"):
        subnets.choose("demo", [IPv4Network("10.0.0.0/8")])


def test_managed_services_take_addresses_from_above() -> None:
    subnet = IPv4Network("10.1.2.0/28")
    first = subnets.last_free(subnet, [])
    assert first == IPv4Address("10.1.2.14")
    assert subnets.last_free(subnet, [first]) == IPv4Address("10.1.2.13")
    everything = list(subnet.hosts())
    with pytest.raises(LabError, match="no free address"):
        subnets.last_free(subnet, everything)


def test_a_clone_elsewhere_is_another_lab() -> None:
    here, there = (names.from_environment({}, Path(root)) for root in ("/srv/one", "/srv/two"))
    assert here.id != there.id
    assert here.name == there.name == "demo"
    assert not here.prefix.startswith(there.prefix)


def test_labs_of_one_clone_share_neither_names_nor_ports() -> None:
    demo = names.from_environment({}, Path("/srv/one"))
    test = names.from_environment({"PARKMESH_LAB": "test"}, Path("/srv/one"))
    assert not {demo.http_port, demo.aws_port} & {test.http_port, test.aws_port}
    assert demo.state != test.state
    assert not test.thing("ops").startswith(demo.prefix)


PAIR = names.default_ports("demo", Path("/srv/one"), claimed={8080})


@pytest.mark.parametrize(
    ("environment", "recorded", "claimed", "expected"),
    [
        ({}, None, set(), (8080, 4566)),
        ({}, None, {8080}, PAIR),
        ({}, None, {4566}, PAIR),
        ({}, None, {9000}, (8080, 4566)),
        ({}, (8080, 4566), {8080, 4566}, (8080, 4566)),
        ({}, PAIR, set(), PAIR),
        ({"LAB_HTTP_PORT": "9000"}, None, set(), (9000, 4566)),
        ({"LAB_HTTP_PORT": "9000"}, None, {8080}, (9000, 4566)),
        ({"LAB_HTTP_PORT": "9000"}, None, {4566}, (9000, PAIR[1])),
        ({"LAB_AWS_PORT": "9000"}, PAIR, set(), (PAIR[0], 9000)),
        ({"LAB_HTTP_PORT": "8080", "LAB_AWS_PORT": "4566"}, PAIR, {8080, 4566}, (8080, 4566)),
    ],
)
def test_given_ports_win_then_recorded_then_well_known_unless_another_lab_has_them(
    environment: dict[str, str], recorded: tuple[int, int] | None, claimed: set[int], expected: tuple[int, int]
) -> None:
    lab = names.from_environment(environment, Path("/srv/one"), recorded=recorded, claimed=claimed)
    assert (lab.http_port, lab.aws_port) == expected


def test_clones_that_leave_the_well_known_ports_get_pairs_of_their_own() -> None:
    pairs = [names.default_ports("demo", Path(root), claimed={8080}) for root in ("/srv/one", "/srv/two")]
    assert len({port for pair in pairs for port in pair}) == 4
    assert not {8080, 4566} & {port for pair in pairs for port in pair}


def test_published_ports_of_other_labs_are_theirs() -> None:
    rows: list[dict[str, Any]] = [
        {"Labels": {"parkmesh.lab": "demo-654321"}, "Ports": [{"host_port": 8080}, {"host_port": 9001}]},
        {"Labels": {"parkmesh.lab": "demo-654321"}, "Ports": None},
        {"Labels": {"parkmesh.lab": "demo-123456"}, "Ports": [{"host_port": 9002}]},
        {"Labels": None, "Ports": [{"host_port": 9003}]},
    ]
    assert ports.published_by_others(rows, "demo-123456") == {8080, 9001}


@pytest.mark.parametrize(
    "facts", [{}, [], {"ports": None}, {"ports": {"http": "8080", "aws": 4566}}, {"ports": {"http": 8080}}]
)
def test_a_record_without_ports_is_none(facts: object) -> None:
    assert ports.pair(facts) is None


def test_ports_of_a_running_daemon_of_another_clone_are_claimed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here, there, broken = tmp_path / "here", tmp_path / "there", tmp_path / "broken"
    (there / ".lab" / "demo").mkdir(parents=True)
    (there / ".lab" / "demo" / "lab.json").write_text('{"ports": {"http": 8080, "aws": 4566}}')
    proc = tmp_path / "proc"
    (proc / "sys/kernel/random").mkdir(parents=True)
    (proc / "sys/kernel/random/boot_id").write_text("boot\n")
    commands = [
        *(processes.daemon_command("demo", root) for root in (here, there, broken)),
        ["vim", "-m", "lab", "daemon"],
        [*processes.daemon_command("demo", there), "--more"],
    ]
    for pid, command in enumerate(commands, start=10):
        (proc / str(pid)).mkdir()
        (proc / str(pid) / "stat").write_text(f"{pid} (python) S " + "0 " * 40)
        (proc / str(pid) / "cmdline").write_bytes(b"".join(word.encode() + b"\0" for word in command))
    monkeypatch.setattr(shutil, "which", lambda _: None)
    assert [owner for _, owner in sorted(processes.daemons(proc), key=lambda found: found[0].pid)] == [
        ("demo", here),
        ("demo", there),
        ("demo", broken),
    ]
    assert ports.claimed_by_others(names.Lab("demo", here, "trixie", 8080, 4566), proc) == {8080, 4566}
    assert ports.claimed_by_others(names.Lab("demo", there, "trixie", 8080, 4566), proc) == set()


def test_a_lab_that_stands_keeps_the_ports_it_has(tmp_path: Path) -> None:
    lab = names.from_environment({}, tmp_path)
    lab.state.mkdir(parents=True)
    lab.lab_json.write_text('{"ports": {"http": 9001, "aws": 9002}}')
    settled = ports.settle({}, tmp_path)
    assert (settled.root, settled.http_port, settled.aws_port) == (tmp_path, 9001, 9002)
    assert ports.settle({"LAB_AWS_PORT": "9003"}, tmp_path).aws_port == 9003


@pytest.mark.parametrize(
    ("environment", "named"),
    [
        ({"PARKMESH_LAB": "Demo"}, "PARKMESH_LAB"),
        ({"PARKMESH_LAB": "../x"}, "PARKMESH_LAB"),
        ({"LAB_DEBIAN": "sid"}, "LAB_DEBIAN"),
        ({"LAB_EGRESS": "nat"}, "LAB_EGRESS"),
        ({"LAB_METRIC_PERIOD_S": "0"}, "LAB_METRIC_PERIOD_S"),
        ({"LAB_METRIC_PERIOD_S": "90"}, "LAB_METRIC_PERIOD_S"),
        ({"LAB_HTTP_PORT": "http"}, "LAB_HTTP_PORT"),
        ({"LAB_HTTP_PORT": "80"}, "LAB_HTTP_PORT"),
        ({"LAB_AWS_PORT": "70000"}, "LAB_AWS_PORT"),
        ({"LAB_AWS_PORT": "9000", "LAB_HTTP_PORT": "9000"}, "LAB_HTTP_PORT and LAB_AWS_PORT"),
    ],
)
def test_a_wrong_setting_is_named(environment: dict[str, str], named: str) -> None:
    with pytest.raises(LabError, match=named):
        names.from_environment(environment, Path("/srv/one"))


def test_mac_addresses_are_fixed_local_and_unicast() -> None:
    address = names.mac_address("demo-123456", "gateway-a")
    assert address == names.mac_address("demo-123456", "gateway-a")
    assert address != names.mac_address("demo-123456", "gateway-b")
    assert int(address[:2], 16) & 0b11 == 0b10


@pytest.mark.parametrize(
    ("name", "labels", "expected"),
    [
        ("parkmesh-demo-123456-ops", {"parkmesh.lab": "demo-123456"}, True),
        ("anything", {"parkmesh.lab": "demo-123456"}, True),
        ("parkmesh-demo-123456-ops", None, True),
        ("parkmesh-demo-123456-ops", {"parkmesh.lab": "demo-654321"}, False),
        ("parkmesh-demo-1234567-ops", None, False),
        ("parkmesh-demo", {}, False),
        ("postgres", {"parkmesh.base": "x"}, False),
    ],
)
def test_only_the_labs_own_things_are_removed(name: str, labels: dict[str, str] | None, expected: bool) -> None:
    lab = names.Lab("demo", Path("/srv/one"), "trixie", 8080, 4566)
    prefix = lab.prefix.removesuffix("-")
    ours = prefix.removeprefix("parkmesh-")
    renamed = name.replace("parkmesh-demo-123456", prefix, 1)
    relabelled = {key: value.replace("demo-123456", ours) for key, value in labels.items()} if labels else labels
    assert down.ours(lab, renamed, relabelled) is expected


@pytest.mark.parametrize(
    ("bounds", "hybrid", "runc", "expected"),
    [
        (0x1FFFFFFFFFF, False, True, None),
        (0x1FFFFFFFFFF, True, False, None),
        (0x1FFFEFFFFFF, False, True, "default_ulimits"),
        (0x1FFFFFFFFFF, True, True, 'runtime = "runc"'),
    ],
)
def test_podman_is_adjusted_only_where_the_machine_needs_it(
    bounds: int, hybrid: bool, runc: bool, expected: str | None
) -> None:
    content = engine.settings(bounds, hybrid, runc)
    assert (expected in content) if expected and content else content is expected


def test_capabilities_are_read_from_proc() -> None:
    assert engine.capability_bounds("Name:\tx\nCapBnd:\t000001fffeffffff\n") == 0x1FFFEFFFFFF


def test_secrets_are_private_kept_and_not_in_the_facts(tmp_path: Path) -> None:
    lab = names.Lab("demo", tmp_path, "trixie", 8080, 4566)
    state.ensure_secrets(lab)
    before = {path.name: path.read_bytes() for path in lab.secrets.iterdir()}
    state.ensure_secrets(lab)
    assert {path.name: path.read_bytes() for path in lab.secrets.iterdir()} == before
    pairs = {"ssh_key", "ssh_key.pub", "release_key", "release_key.pub"}
    assert set(before) == {*pairs, "desk-password", "controller-authtoken", "mqtt-password"}
    assert lab.secrets.stat().st_mode & 0o777 == 0o700
    for name in ("ssh_key", "release_key", "desk-password", "controller-authtoken"):
        assert (lab.secrets / name).stat().st_mode & 0o777 == 0o600
    overlay = {"kind": "lab", "package": None, "explanation": "why"}
    facts = str(state.facts_of(lab, subnets.choose(lab.id, []), overlay, None, "image", "none", 60))
    for name in ("desk-password", "controller-authtoken", "mqtt-password"):
        assert before[name].decode().strip() not in facts


def test_an_interrupted_secret_is_made_again(tmp_path: Path) -> None:
    lab = names.Lab("demo", tmp_path, "trixie", 8080, 4566)
    lab.secrets.mkdir(parents=True)
    (lab.secrets / "desk-password").touch()
    (lab.secrets / "ssh_key").touch()
    (lab.secrets / "release_key").touch()
    state.ensure_secrets(lab)
    assert (lab.secrets / "desk-password").read_text().strip()
    assert (lab.secrets / "ssh_key").read_text().startswith("-----BEGIN")
    assert (lab.secrets / "release_key").read_text().startswith("-----BEGIN PRIVATE KEY")
    assert (lab.secrets / "release_key.pub").read_text().startswith("-----BEGIN PUBLIC KEY")


def test_a_lab_is_held_by_one_at_a_time(tmp_path: Path) -> None:
    lab = names.Lab("demo", tmp_path, "trixie", 8080, 4566)
    with state.held(lab), pytest.raises(LabError, match="at work"), state.held(lab):
        pass
    with state.held(lab):
        pass


def test_facts_cut_short_by_a_crash_count_as_none(tmp_path: Path) -> None:
    lab = names.Lab("demo", tmp_path, "trixie", 8080, 4566)
    lab.state.mkdir(parents=True)
    lab.lab_json.write_text('{"id": "de')
    assert state.load(lab) is None
    with pytest.raises(LabError, match="not up"):
        state.require(lab)


def test_the_summary_tells_all_that_a_person_needs(tmp_path: Path) -> None:
    lab = names.Lab("demo", tmp_path, "trixie", 8080, 4566)
    overlay = {"kind": "lab", "package": None, "explanation": "because nothing answered"}
    facts = state.facts_of(lab, subnets.choose(lab.id, []), overlay, None, "image", "none", 60)
    text = summary.text(lab, facts, "a-password")
    for part in (
        "http://127.0.0.1:8080/",
        "desk@parkmesh.example",
        "a-password",
        "desk-password",
        "because nothing answered",
        "ansible-inventory -i inventory/lab --graph",
        "make car PLATE=1234BCD",
        "make mail",
        "make lab-down",
    ):
        assert part in text
