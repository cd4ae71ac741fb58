"""The trial of ZeroTier's settings, roots and package: kept, put back, and interrupted between any two of its steps.

molecule/zerotier and lab/tests/whole/test_zerotier_trial.py try it on hosts that boot systemd.
"""

import contextlib
import importlib.util
import json
import subprocess
import sys
from collections.abc import Sequence
from itertools import count
from pathlib import Path
from typing import Any

import pytest

PROGRAM = Path(__file__).resolve().parents[3] / "roles/zerotier/files/zerotier-trial.py"
spec = importlib.util.spec_from_file_location("zerotier_trial", PROGRAM)
assert spec
assert spec.loader
zerotier_trial: Any = importlib.util.module_from_spec(spec)
sys.modules["zerotier_trial"] = zerotier_trial
spec.loader.exec_module(zerotier_trial)

NETWORK = "8056c2e21c000001"
KEPT = {"result": "kept", "reasons": []}


class PowerCutError(Exception):
    """The host ended here."""


class Host:
    """A daemon's home in a folder, with systemd, dpkg and a daemon that answer as they are told."""

    def __init__(self, root: Path) -> None:
        self.root, self.home = root, root / "home"
        self.state = root / "var/lib/zerotier-trial"
        for path in (self.home / "moons.d", self.state / "wanted/moons.d", root / "run", root / "lib/systemd"):
            path.mkdir(parents=True)
        (root / "lib/systemd/zerotier-one.service").write_text("a unit")
        (self.home / "local.conf").write_text("old")
        (self.home / "moons.d/a.moon").write_text("old")
        self.want()
        self.now = 0.0
        self.online, self.pid, self.status = True, 100, "OK"
        self.armed = False
        self.refuses: dict[str, str] = {}
        self.commands: list[str] = []
        self.cut_at: int | None = None
        self.trial = zerotier_trial.Trial(root, self.run, sleep=self.sleep, monotonic=lambda: self.now)

    def want(self) -> None:
        for name in ("local.conf", "moons.d/a.moon", "moons.d/b.moon"):
            path = self.state / "wanted" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text("new")

    def sleep(self, seconds: float) -> None:
        self.now += seconds

    def run(self, command: Sequence[str]) -> "subprocess.CompletedProcess[str]":
        if len(self.commands) == self.cut_at:
            raise PowerCutError
        line = " ".join(command)
        self.commands.append(line)
        for words, why in self.refuses.items():
            if words in line:
                return subprocess.CompletedProcess(command, 1, "", why)
        code, text = 0, ""
        if "info" in command:
            text = json.dumps({"address": "08d0b323c3", "online": self.online})
        elif "listnetworks" in command:
            text = json.dumps([{"nwid": NETWORK, "status": self.status}])
        elif "--property=MainPID" in command:
            text = str(self.pid)
        elif "is-failed" in command:
            code = 1
        elif "is-active" in command:
            code = 0 if self.armed else 3
        elif command[0] == "systemd-run" and "zerotier-return" in line:
            self.armed = True
        elif "stop" in command:
            self.armed = False
        elif "--listfiles" in command:
            text = "/.\n/lib\n/lib/systemd\n/lib/systemd/zerotier-one.service\n"
        elif "--status" in command:
            text = "Package: zerotier-one\nStatus: install ok installed\nVersion: 1.14.1\n"
        elif "dpkg-deb" in command:
            Path(command[-1]).write_text("former")
        return subprocess.CompletedProcess(command, code, text, "")

    def begin(self, package: Path | None = None) -> None:
        self.trial.begin(self.home, 90, package)

    def boot(self) -> None:
        """What systemd does after a power cut: timers and /run are gone, and zerotier-return runs on its condition."""
        self.armed, self.cut_at = False, None
        (self.root / "run/zerotier-trial").unlink(missing_ok=True)
        if self.trial.former.exists():
            self.trial.put_back()

    def files(self) -> dict[str, str]:
        paths = [self.home / "local.conf", *sorted((self.home / "moons.d").iterdir())]
        return {path.name: path.read_text() for path in paths}

    def outcome(self) -> Any:
        return json.loads((self.state / "outcome.json").read_text())


OLD = {"local.conf": "old", "a.moon": "old"}
NEW = {"local.conf": "new", "a.moon": "new", "b.moon": "new"}


@pytest.fixture
def host(tmp_path: Path) -> Host:
    return Host(tmp_path)


def test_what_is_confirmed_is_kept_and_nothing_returns(host: Host) -> None:
    host.begin()
    assert host.files() == OLD, "the change comes when whoever asked has the answer"
    host.trial.apply()
    assert host.trial.judge(54) == []
    assert host.now >= zerotier_trial.UP_S
    host.trial.keep(9)
    assert (host.files(), host.armed, host.outcome()) == (NEW, False, KEPT)
    host.trial.put_back()
    host.boot()
    assert (host.files(), host.outcome()) == (NEW, KEPT)
    assert list((host.state).glob("[fw]*")) == []


def test_what_nobody_confirms_returns_and_can_t_be_kept_any_more(host: Host) -> None:
    host.begin()
    host.trial.apply()
    host.trial.put_back()
    assert host.files() == OLD
    assert host.outcome() == {"result": "put back", "reasons": ["nobody confirmed it in time"]}
    with pytest.raises(zerotier_trial.TrialError, match="nobody confirmed it in time"):
        host.trial.keep(9)
    assert host.trial.judge(5) == ["nobody confirmed it in time"]


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"online": False}, "zerotier-one was online before, and reaches no root now"),
        ({"status": "REQUESTING_CONFIGURATION"}, f"network {NETWORK} was OK before, and isn't"),
        ({"refuses": {"zerotier-cli": "connection refused"}}, "zerotier-one doesn't answer"),
    ],
)
def test_a_daemon_that_is_worse_than_before_is_put_back_with_the_reason(
    host: Host, change: dict[str, Any], reason: str
) -> None:
    host.begin()
    host.trial.apply()
    vars(host).update(change)
    assert host.trial.judge(54) == [reason]
    assert host.now >= 54
    assert "systemctl start --no-block zerotier-return.service" in host.commands
    with pytest.raises(zerotier_trial.TrialError):
        host.trial.keep(9)
    host.trial.put_back()
    assert (host.files(), host.outcome()["reasons"]) == (OLD, [reason])


def test_nothing_is_kept_that_isn_t_well_where_nobody_heard_so(host: Host) -> None:
    """The answer may have been lost with the connection."""
    host.begin()
    host.trial.apply()
    host.online = False
    with pytest.raises(zerotier_trial.TrialError, match="reaches no root now"):
        host.trial.keep(9)
    host.trial.put_back()
    host.want()
    host.online = True
    host.begin()
    host.trial.apply()
    host.trial.keep(9)
    assert (host.files(), host.outcome()) == (NEW, KEPT)


def test_a_daemon_that_was_ill_before_need_not_be_well(host: Host) -> None:
    host.online, host.status = False, "ACCESS_DENIED"
    host.begin()
    host.trial.apply()
    assert host.trial.judge(54) == []


def test_a_daemon_that_ends_again_and_again_isn_t_well(host: Host) -> None:
    host.begin()
    host.trial.apply()
    sleep = host.sleep

    def restarting(seconds: float) -> None:
        host.pid += 1
        sleep(seconds)

    host.trial._sleep = restarting
    assert host.trial.judge(20) == ["zerotier-one ends soon after its start"]


def test_a_daemon_that_systemd_gave_up_is_not_waited_for(host: Host) -> None:
    host.begin()
    host.trial.apply()
    run = host.run

    def given_up(command: Sequence[str]) -> "subprocess.CompletedProcess[str]":
        return subprocess.CompletedProcess(command, 0, "", "") if "is-failed" in command else run(command)

    host.trial._run = given_up
    host.refuses = {"zerotier-cli": "connection refused"}
    assert host.trial.judge(54) == ["zerotier-one doesn't answer"]
    assert host.now == 0


@pytest.mark.parametrize("unit", ["zerotier-return.service", "zerotier-trial.service"])
def test_without_a_way_back_nothing_is_tried(host: Host, unit: str) -> None:
    host.refuses = {f"--unit={unit}": "no such unit"}
    with pytest.raises(zerotier_trial.TrialError, match="systemd-run: no such unit"):
        host.begin()
    assert (host.files(), host.trial.former.exists(), host.armed) == (OLD, False, False)


def test_without_a_package_of_what_runs_no_other_is_tried(host: Host) -> None:
    host.refuses = {"dpkg-deb": "no space left on device"}
    with pytest.raises(zerotier_trial.TrialError, match="dpkg-deb: no space left on device"):
        host.begin(Path("/new.deb"))
    assert not host.trial.former.exists()


def test_a_second_trial_waits_for_the_first_and_mends_one_that_nobody_ends(host: Host) -> None:
    host.begin()
    host.trial.apply()
    with pytest.raises(zerotier_trial.TrialError, match="another change of ZeroTier is on trial"):
        host.begin()
    assert host.files() == NEW
    host.armed = False
    host.want()
    host.begin()
    assert host.files() == OLD
    assert json.loads((host.trial.former / "meta.json").read_text())["before"]["online"] is True


def test_a_package_that_can_t_be_installed_is_put_back_by_what_was_made_of_the_installed_files(host: Host) -> None:
    host.refuses = {"apt-get install": "E: Sub-process dpkg returned an error code (1)"}
    host.begin(Path("/new.deb"))
    host.trial.apply()
    reason = "the package can't be installed: E: Sub-process dpkg returned an error code (1)"
    assert host.trial.judge(54) == [reason]
    host.trial.put_back()
    assert any(each.startswith("dpkg --install") and each.endswith("former/package.deb") for each in host.commands)
    assert host.outcome() == {"result": "put back", "reasons": [reason]}


def test_what_can_t_be_put_back_is_tried_again(host: Host) -> None:
    host.begin(Path("/new.deb"))
    host.trial.apply()
    host.refuses = {"dpkg --install": "dpkg: error: dpkg frontend lock was locked"}
    with pytest.raises(zerotier_trial.TrialError, match="frontend lock"):
        host.trial.put_back()
    assert (host.files(), host.trial.former.exists()) == (OLD, True)
    host.refuses = {}
    host.trial.put_back()
    assert not host.trial.former.exists()


def test_settings_that_weren_t_there_before_go_again(host: Host) -> None:
    (host.home / "local.conf").unlink()
    host.begin()
    host.trial.apply()
    host.trial.put_back()
    assert not (host.home / "local.conf").exists()


@pytest.mark.parametrize("second", [None, 1, 2, 3], ids=lambda second: f"then-{second}")
def test_a_power_cut_at_any_step_leaves_the_former_or_what_was_kept(tmp_path: Path, second: int | None) -> None:
    """Also with another one so many steps after the first, while the former are put back."""
    for cut in count():
        host = Host(tmp_path / str(cut))
        host.cut_at = cut
        try:
            host.begin(Path("/new.deb"))
            host.trial.apply()
            assert host.trial.judge(54) == []
            host.trial.keep(9)
        except PowerCutError:
            kept = (host.state / "outcome.json").exists() and not host.trial.former.exists()
        else:
            break
        host.cut_at = len(host.commands) + second if second else None
        with contextlib.suppress(PowerCutError):
            host.trial.put_back()
        host.boot()
        assert host.files() == (NEW if kept else OLD), f"cut at {cut}"
        assert not host.trial.former.exists()
    assert cut > 10


def test_the_control_file_of_the_former_package_has_nothing_that_dpkg_adds() -> None:
    status = """Package: zerotier-one
Status: install ok installed
Priority: optional
Conffiles:
 /etc/zerotier.conf 0123456789abcdef0123456789abcdef
Version: 1.14.1
Description: a network
 of many lines
 .
"""
    assert zerotier_trial.described(status) == (
        "Package: zerotier-one\nPriority: optional\nVersion: 1.14.1\nDescription: a network\n of many lines\n .\n"
    )
