"""Whether a gateway is well, and what became worse: the checks, the comparison, the command on a running gateway."""

import json
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from edge_server import TOKEN, EdgeServer
from hypothesis import given
from hypothesis import strategies as st
from parkmesh.gateway import health
from parkmesh.gateway.cli import gateway
from parkmesh.protocol.edge import AccessEntry
from processes import GatewaySite, wait_for

WELL = {
    "running": True,
    "access_list_version": 3,
    "access_list_whole": True,
    "undecided": 1,
    "storing": "disk",
    "last_sync": 1,
    "errors": {},
    "stream": True,
    "mqtt": True,
}


@pytest.mark.parametrize(
    ("change", "faulty"),
    [
        ({}, []),
        ({"running": False}, ["runs"]),
        ({"access_list_version": 0}, ["list"]),
        ({"access_list_whole": False}, ["list"]),
        ({"undecided": 21}, ["decides"]),
        ({"storing": "memory", "disk_error": "disk full"}, ["disk"]),
        ({"last_sync": None}, ["syncs"]),
        ({"errors": {"events": "HTTP 422"}}, ["syncs"]),
        ({"errors": {"stream": "the stream ended"}, "stream": False}, ["stream"]),
        ({"mqtt": False}, ["broker"]),
        ({"mqtt": None}, []),
    ],
)
def test_each_check_finds_its_fault(change: dict[str, Any], faulty: list[str]) -> None:
    judged = health.judge(health.checks({**WELL, **change}, {"in": None}), None)
    assert (judged.well, list(judged.faults)) == (not faulty, faulty)


def test_a_release_that_is_not_fetched_counts_unless_another_one_is_on_trial() -> None:
    found = health.checks({"running": True, "release": {"fault": "the disk is full"}}, {})
    assert found["release"] == "the disk is full"
    assert "release" in health.judge(found, None).faults
    assert "release" in health.judge(found, {**found, "release": None}).known


def test_a_relay_that_does_not_answer_is_named_by_its_gate() -> None:
    judged = health.judge(health.checks(WELL, {"in": None, "out": "no connection"}), None)
    assert judged.faults == {"relay of gate out": "no connection"}


NAMES = st.sampled_from(["runs", "list", "syncs", "broker", "relay of gate in"])
CHECKS = st.dictionaries(NAMES, st.none() | st.just("a fault"))


@given(found=CHECKS, before=CHECKS)
def test_only_what_was_well_before_counts_and_running_always(found: health.Checks, before: health.Checks) -> None:
    judged = health.judge(found, before)
    wrong = {name for name, fault in found.items() if fault}
    assert set(judged.faults) | set(judged.known) == wrong
    assert set(judged.faults) & set(judged.known) == set()
    assert set(judged.faults) == {name for name in wrong if name == "runs" or before.get(name, "unknown") is None}
    assert judged.well == (not judged.faults)


@pytest.fixture
def site(tmp_path: Path) -> Iterator[GatewaySite]:
    with EdgeServer([AccessEntry("ana", "1234BCD", "active")]) as server:
        running = GatewaySite(tmp_path, [server.url], TOKEN)
        with running.at_work():
            yield running


def ask(site: GatewaySite, *options: str) -> tuple[int, dict[str, Any]]:
    result = CliRunner().invoke(gateway, ["health", "--config", str(site.config_path), *options])
    return result.exit_code, json.loads(result.output)


def test_the_command_says_what_became_worse(site: GatewaySite, tmp_path: Path) -> None:
    code, found = ask(site, "--within", "10")
    assert (code, found["faults"]) == (0, {})
    before = tmp_path / "before.json"
    before.write_text(json.dumps(found))
    assert ask(site, "--up", "60")[1]["faults"]["runs"].startswith("the agent has started again")
    site.stop_relay()
    assert list(ask(site, "--before", str(before))[1]["faults"]) == ["relay of gate in", "relay of gate out"]
    assert site.gateway is not None
    site.gateway.stop()
    code, found = ask(site, "--before", str(before))
    assert (code, found["faults"]) == (1, {"runs": "the agent doesn't answer"})
    # A relay that was down before isn't the new release's fault; that the agent is, always is.
    before.write_text(json.dumps(found))
    site.start_gateway()
    wait_for(lambda: ask(site, "--before", str(before))[0] == 0, "only the relay, which was not known before")
    assert list(ask(site, "--before", str(before))[1]["known"]) == ["relay of gate in", "relay of gate out"]


@pytest.mark.parametrize("content", [None, "{", "{}"])
def test_a_before_that_is_none_is_refused(site: GatewaySite, tmp_path: Path, content: str | None) -> None:
    path = tmp_path / "before.json"
    if content is not None:
        path.write_text(content)
    result = CliRunner().invoke(gateway, ["health", "--config", str(site.config_path), "--before", str(path)])
    assert result.exit_code == 2
    assert str(path) in result.output


def test_a_relay_is_asked_by_a_connection_alone(site: GatewaySite) -> None:
    with socket.create_server(("127.0.0.1", 0)) as relay:
        config = json.loads(site.config_path.read_text())
        config["gates"][0]["relay"]["url"] = f"http://127.0.0.1:{relay.getsockname()[1]}"
        site.config_path.write_text(json.dumps(config))
        assert ask(site)[1]["checks"]["relay of gate in"] is None
        relay.settimeout(5)
        connection, _ = relay.accept()
        assert connection.recv(1) == b""  # nothing was sent that could move a barrier
        connection.close()
