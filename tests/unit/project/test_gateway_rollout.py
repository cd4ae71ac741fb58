"""The trial of a release on a gateway: judged, kept or put back, and interrupted between any two of its steps.

lab/tests/whole/test_gateway_rollout.py tries it on a host that boots systemd.
"""

import importlib.util
import json
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

PROGRAM = Path(__file__).resolve().parents[3] / "roles/parking_gateway/files/parkmesh-rollout.py"
spec = importlib.util.spec_from_file_location("parkmesh_rollout", PROGRAM)
assert spec
assert spec.loader
rollout: Any = importlib.util.module_from_spec(spec)
sys.modules["parkmesh_rollout"] = rollout
spec.loader.exec_module(rollout)

OLD, NEW = "aaaaaaaaaaaa", "bbbbbbbbbbbb"
WELL = json.dumps({"well": True, "checks": {}, "faults": {}, "known": {"syncs": "ConnectTimeout"}})
ILL = json.dumps({"well": False, "checks": {}, "faults": {"broker": "not connected"}, "known": {}})


class PowerCutError(Exception):
    """The host ended here."""


class Host:
    """A gateway's files in a folder, with systemd and two releases that answer as they are told."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.commands: list[str] = []
        self.answers: dict[str, tuple[int, str]] = {}
        self.cut_at: int | None = None
        self.steps = 0
        for release in (OLD, NEW):
            (root / "opt/parkmesh/releases" / release / "bin").mkdir(parents=True)
        (root / "opt/parkmesh/current").symlink_to(root / "opt/parkmesh/releases" / OLD)
        wanted = root / "var/lib/parkmesh-rollout/wanted"
        wanted.mkdir(parents=True)
        (wanted / "release").write_text(NEW + "\n")
        for name, place in rollout.FILES.items():
            (root / place).parent.mkdir(parents=True)
            (root / place).write_text(f"old {name}")
            (wanted / name).write_text(f"new {name}")
        self.rollout = rollout.Rollout(root, self.run, sleep=lambda _: None)

    def run(self, command: Sequence[str]) -> "subprocess.CompletedProcess[str]":
        self.step()
        line = " ".join(str(part) for part in command)
        self.commands.append(line)
        for words, (code, text) in self.answers.items():
            if words in line:
                return subprocess.CompletedProcess(command, code, text if code == 0 or text[:1] == "{" else "", text)
        return subprocess.CompletedProcess(command, 0, '{"running": true}' if " status " in line else WELL, "")

    def step(self) -> None:
        self.steps += 1
        if self.steps == self.cut_at:
            raise PowerCutError

    def state(self) -> tuple[str, set[str]]:
        """Return the linked release, and which generation the files are of."""
        files = {(self.root / place).read_text().partition(" ")[0] for place in rollout.FILES.values()}
        return self.rollout.current_release(), files

    def outcome(self) -> Any:
        return json.loads((self.root / "var/lib/parkmesh-rollout/outcome.json").read_text())

    def restarted(self) -> int:
        return sum("systemctl restart" in command for command in self.commands)


@pytest.fixture
def host(tmp_path: Path) -> Host:
    return Host(tmp_path)


def test_a_release_that_is_well_is_kept_and_what_was_wrong_before_is_told(host: Host) -> None:
    outcome = host.rollout.apply(50, 10)
    assert (outcome.result, outcome.known) == ("kept", ["syncs: ConnectTimeout"])
    assert host.state() == (NEW, {"new"})
    assert not host.rollout.previous.exists()
    # The new release judged the wanted configuration, and what was before, ahead of the link.
    asked = [command for command in host.commands if f"{NEW}/bin/parkmesh" in command]
    assert [command.split()[2] for command in asked] == ["check-config", "health", "health"]
    assert "wanted/gateway.json" in asked[0]
    again = host.rollout.apply(50, 10)
    assert (again.result, host.restarted()) == ("unchanged", 1)


def test_a_configuration_that_the_new_release_refuses_touches_nothing(host: Host) -> None:
    host.answers["check-config"] = (2, "parkmesh gateway: $.listen.port is wrong")
    outcome = host.rollout.apply(50, 10)
    assert (outcome.result, outcome.reasons) == ("refused", ["parkmesh gateway: $.listen.port is wrong"])
    assert (host.state(), host.restarted()) == ((OLD, {"old"}), 0)


@pytest.mark.parametrize(
    ("words", "answer", "reason"),
    [
        ("--before", (1, ILL), "broker: not connected"),
        ("--before", (1, "ModuleNotFoundError: msgspec"), "runs: ModuleNotFoundError: msgspec"),
        ("systemctl restart", (1, "Job failed"), "Job failed"),
        ("timeout 30 systemctl", (124, ""), "the agent didn't answer within 30 s of its start"),
    ],
)
def test_what_is_not_well_is_put_back_with_its_reason(
    host: Host, words: str, answer: tuple[int, str], reason: str
) -> None:
    host.answers |= {words: answer, "journalctl": (0, "")}
    outcome = host.rollout.apply(0, 10)
    assert (outcome.result, outcome.was, outcome.reasons) == ("put back", OLD, [reason])
    assert host.state() == (OLD, {"old"})
    assert not host.rollout.previous.exists()
    assert host.restarted() == 2
    assert host.outcome()["reasons"] == [reason]


def test_an_agent_that_keeps_ending_is_not_waited_for(host: Host) -> None:
    endings = iter([0, 1, 2])
    run = host.run

    def ending(command: Sequence[str]) -> "subprocess.CompletedProcess[str]":
        if "--property=NRestarts" in command:
            return subprocess.CompletedProcess(command, 0, str(next(endings)), "")
        return run(command)

    host.rollout._run = ending
    host.answers |= {"--before": (1, ILL), "journalctl": (0, "OSError: no such port")}
    outcome = host.rollout.apply(3600, 10)
    assert outcome.reasons == ["the agent ended 2 times: OSError: no such port"]
    assert host.state() == (OLD, {"old"})


def test_the_time_that_a_slow_host_takes_to_restart_is_no_silence(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0
    young = json.dumps({"well": False, "checks": {}, "faults": {"runs": "up for 2 of 10 s"}, "known": {}})
    judged = iter([(1, young), (0, WELL)])
    run = host.run

    def slow(command: Sequence[str]) -> "subprocess.CompletedProcess[str]":
        nonlocal now
        line = " ".join(str(part) for part in command)
        if "systemctl restart" in line:
            now += rollout.ANSWER_S + 1
        elif "--before" in line:
            now += 1
            code, text = next(judged)
            return subprocess.CompletedProcess(command, code, text, "")
        return run(command)

    host.rollout._run = slow
    monkeypatch.setattr(rollout, "time", SimpleNamespace(monotonic=lambda: now, time=lambda: now))
    assert host.rollout.apply(50, 10).result == "kept"


def test_the_first_installation_has_nothing_to_go_back_to(host: Host) -> None:
    (host.root / rollout.FILES["gateway.json"]).unlink()
    host.answers["--before"] = (1, ILL)
    outcome = host.rollout.apply(0, 10)
    assert (outcome.result, outcome.reasons) == ("kept", ["broker: not connected"])
    assert host.state() == (NEW, {"new"})


def cut_everywhere(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the power fail at the chosen one of all steps that reach the disk or systemd."""
    for name in ("flush", "copy"):
        real: Callable[..., None] = getattr(rollout, name)

        def counted(*given: Path, real: Callable[..., None] = real) -> None:
            host.step()
            real(*given)
            host.step()

        monkeypatch.setattr(rollout, name, counted)


@pytest.mark.parametrize("verdict", [WELL, ILL])
def test_a_power_cut_at_any_step_leaves_no_unproven_release(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, verdict: str
) -> None:
    """At the next boot either all is as before, or all is new and was found to be well."""
    ends = set()
    for cut_at in range(1, 500):
        host = Host(tmp_path / str(cut_at))
        host.answers["--before"] = (0 if verdict == WELL else 1, verdict)
        with monkeypatch.context() as patch:
            cut_everywhere(host, patch)
            host.cut_at = cut_at
            try:
                host.rollout.apply(0, 10)
            except PowerCutError:
                host.cut_at = None
                host.rollout.settle("the host restarted", boot=True)
            else:
                break
        ends.add((host.state()[0], *sorted(host.state()[1])))
        assert not host.rollout.previous.exists()
    assert host.steps > 20
    assert ends == {(OLD, "old"), (NEW, "new")} if verdict == WELL else ends == {(OLD, "old")}


def test_a_power_cut_while_it_is_put_back_is_no_harm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for cut_at in range(1, 60):
        host = Host(tmp_path / str(cut_at))
        host.rollout.keep_previous()
        host.rollout.install(host.rollout.wanted)
        with monkeypatch.context() as patch:
            cut_everywhere(host, patch)
            host.cut_at = host.steps + cut_at
            try:
                host.rollout.settle("the host restarted", boot=True)
            except PowerCutError:
                host.cut_at = None
                host.rollout.settle("the host restarted", boot=True)
        assert host.state() == (OLD, {"old"})
