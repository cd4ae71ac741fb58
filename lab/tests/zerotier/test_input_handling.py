"""What a real 1.14.1 controller made of 300 good and bad bodies and paths in a row, asked of lab.zerotier."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from .conftest import Daemon

RECORDED = json.loads((Path(__file__).parent / "recorded" / "input-handling.json").read_text())
NETWORK = "00000a"


def without_times(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: without_times(item) for name, item in value.items()}
    return "TIME" if isinstance(value, int) and 1_600_000_000_000 < value < 2_000_000_000_000 else value


def change(before: dict[str, Any], after: dict[str, Any]) -> dict[str, Any]:
    names = sorted(set(before) | set(after))
    gone = "<gone>"
    return {name: after.get(name, gone) for name in names if after.get(name, gone) != before.get(name, gone)}


def ask_like_recorded(daemon: Daemon, entry: dict[str, Any]) -> tuple[Any, Any]:
    """What lab.zerotier answers to one recorded step, and what the real one answered, in the recording's form."""
    network = f"/controller/network/{daemon.address}{NETWORK}"
    if entry["on"] == "member list":
        return daemon.ask("GET", f"{network}/member").body.decode(), entry["answer"]
    if entry["on"] == "path":
        path = entry["path"].replace("$NODE", daemon.address).replace("$UPPER", daemon.address.upper())
        body = "{}" if entry["method"] in ("POST", "PUT") else None
        answer = daemon.ask(entry["method"], path, body)
        text = answer.body.decode().replace(daemon.address, "$NODE")
        return tidy(answer.status, text, entry["path"]), tidy(entry["status"], entry["answer"], entry["path"])
    path = network if entry["on"] == "network" else f"{network}/member/{entry['member']}"
    first = daemon.ask("GET", path)
    answer = daemon.ask("POST", path, entry["body"])
    actual: Any = answer.body.decode()
    if answer.status == 200:
        before = first.json if first.status == 200 else {}
        actual = json.loads(json.dumps(change(before, answer.json)).replace(daemon.address, "$NODE"))
    return (answer.status, without_times(actual)), (entry["status"], without_times(entry["change"]))


def tidy(status: int, text: str, path: str) -> tuple[int, str]:
    text = re.sub(r"\b1[6-9]\d{11}\b", "TIME", text)
    if path == "/controller/network":  # a random ID is chosen
        text = re.sub(r"\$NODE[0-9a-f]{6}", "$NODE------", text)
    return status, text


def test_every_body_and_path_has_the_recorded_effect(daemon: Daemon) -> None:
    daemon.post(f"/controller/network/{daemon.address}{NETWORK}", {})
    differences = []
    for position, entry in enumerate(RECORDED):
        actual, expected = ask_like_recorded(daemon, entry)
        if actual != expected:
            asked = entry.get("body", entry.get("path"))
            differences.append(f"step {position}, {asked!r}: {actual!r} instead of {expected!r}")
    if differences:
        pytest.fail("\n".join(differences[:10]))
    assert len(RECORDED) > 300


def test_a_refused_write_leaves_nothing_behind(daemon: Daemon) -> None:
    network = f"/controller/network/{daemon.address}{NETWORK}"
    daemon.post(network, {})
    before = daemon.post(f"{network}/member/00000000aa", {"name": "kept"})
    answer = daemon.ask("POST", f"{network}/member/00000000aa", '{"authorized":true,"ipAssignments":[5]}')
    assert answer.status == 500
    assert daemon.ask("GET", f"{network}/member/00000000aa").json == before


def test_documents_survive_a_restart(daemon: Daemon) -> None:
    network = f"/controller/network/{daemon.address}{NETWORK}"
    written = daemon.post(network, {"name": "kept", "tags": [{"id": 1, "default": None}]})
    member = daemon.post(f"{network}/member/00000000aa", {"authorized": True, "tags": [[1, 2]]})
    daemon.stop()
    (daemon.home / "controller.d/network/1234567890123456.json").write_text("{broken")
    daemon.start()
    assert daemon.ask("GET", network).json == written
    assert daemon.ask("GET", f"{network}/member/00000000aa").json == member
    assert daemon.ask("GET", "/controller/network").json == [network.rpartition("/")[2]]
    assert "1234567890123456.json can't be read" in daemon.log.read_text()
