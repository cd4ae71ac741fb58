#!/usr/bin/python3
"""Put a host's ZeroTier settings, roots or package on trial: kept once they are confirmed, put back if they aren't.

For hosts that are reached over the network which a restart may cut. systemd runs what changes the daemon, so that it
comes to its end although the connection to the host is lost.

In /var/lib/zerotier-trial:
  wanted/        what the inventory wants: local.conf and moons.d/, as they are in the daemon's home
  former/        what ran before, as long as what is wanted is unproven
  outcome.json   how the last trial went
"""

import argparse
import fcntl
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

PROGRAM = "/usr/local/sbin/zerotier-trial"
PACKAGE = DAEMON = "zerotier-one"
TRIAL, RETURN = "zerotier-trial", "zerotier-return"
CONFIGURATION = ("local.conf", "moons.d")
"""What a trial changes in the daemon's home."""
SCRIPTS = ("preinst", "postinst", "prerm", "postrm", "conffiles", "triggers")
"""What a package has beside its files."""
ANSWER_S = 1
"""Before the change: who asked for it gets an answer by the connection that the change may cut."""
UP_S = 3.0
"""How long the daemon must have been up: one that ends soon after its start answers for a moment too."""
STEP_S = 0.5
WAIT_FOR_DPKG_S = 60

Run = Callable[[Sequence[str]], "subprocess.CompletedProcess[str]"]


class TrialError(Exception):
    """What was asked for can't be done; the message says why."""


@dataclass(frozen=True)
class Health:
    """``networks``: ids of those with the status OK; ``pid`` is 0 where nothing runs."""

    answers: bool = False
    online: bool = False
    networks: list[str] = field(default_factory=list)
    pid: int = 0


@dataclass(frozen=True)
class Outcome:
    """``result``: kept, put back or unknown."""

    result: str
    reasons: list[str] = field(default_factory=list)


def run(command: Sequence[str]) -> "subprocess.CompletedProcess[str]":
    """Run a command and return what it printed; one that can't be started or doesn't end fails like any other."""
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive", "LC_ALL": "C.UTF-8"}
    try:
        return subprocess.run(command, check=False, capture_output=True, text=True, timeout=300, env=environment)
    except (OSError, subprocess.TimeoutExpired) as error:
        return subprocess.CompletedProcess(command, 127, "", str(error))


def last_line(done: "subprocess.CompletedProcess[str]") -> str:
    lines = (done.stderr.strip() or done.stdout.strip() or f"exit code {done.returncode}").splitlines()
    return lines[-1][:300]


def own(source: str | Path, target: str | Path) -> None:
    """Give the target the source's owner and mode."""
    status = Path(source).stat()
    os.chown(target, status.st_uid, status.st_gid)
    Path(target).chmod(status.st_mode & 0o7777)


def copy(source: str | Path, target: str | Path) -> None:
    """Put a copy of a file in the target's place, with owner and mode, as a whole or not at all."""
    fresh = Path(target).with_name(f".{Path(target).name}.new")
    shutil.copyfile(source, fresh)
    own(source, fresh)
    fresh.replace(target)


def replace(source: Path, target: Path) -> None:
    """Make the target, a file or a folder, as the source is; where there is no source, there is no target after it."""
    if target.is_dir():
        shutil.rmtree(target)
    if source.is_dir():
        shutil.copytree(source, target, copy_function=copy)
        own(source, target)
    elif source.exists():
        copy(source, target)
    else:
        target.unlink(missing_ok=True)


class Trial:
    """The files below ``root``, and what is done with them; ``run`` runs commands of systemd, dpkg and the daemon."""

    def __init__(
        self,
        root: Path,
        run: Run,
        *,
        sleep: Callable[[float], None] = time.sleep,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._root, self._run, self._sleep, self._monotonic = root, run, sleep, monotonic
        self._state = root / "var/lib/zerotier-trial"
        self.wanted, self.former = self._state / "wanted", self._state / "former"
        # How far it is: changed over, found to be well, or to be put back for these reasons.
        self._applied, self._well = self.former / "applied", self.former / "well"
        self._reasons = self.former / "reasons.json"
        # Gone after a boot.
        self._this_boot = root / "run/zerotier-trial"

    @contextmanager
    def _alone(self) -> Iterator[None]:
        with (self._state / "lock").open("a") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield

    def _meta(self) -> dict[str, Any]:
        document: dict[str, Any] = json.loads((self.former / "meta.json").read_text())
        return document

    def _do(self, *command: str) -> str:
        done = self._run(command)
        if done.returncode:
            raise TrialError(f"{command[0]}: {last_line(done)}")
        return done.stdout

    def _is(self, state: str, unit: str) -> bool:
        return self._run(["systemctl", "--quiet", f"is-{state}", unit]).returncode == 0

    # the beginning

    def begin(self, home: Path, within: float, package: Path | None = None) -> None:
        """Note what runs, arm the way back, and have systemd change over a second later.

        Raises:
            TrialError: another trial goes on, or there would be no way back; then nothing was changed.
        """
        with self._alone():
            if self.former.exists():
                if self._is("active", f"{RETURN}.timer") or self._is("active", f"{RETURN}.service"):
                    raise TrialError("another change of ZeroTier is on trial: run this again when it is over")
                self._put_back()
            fresh = self._state / "former.new"
            shutil.rmtree(fresh, ignore_errors=True)
            fresh.mkdir(mode=0o700)
            for name in CONFIGURATION:
                replace(home / name, fresh / name)
            if package:
                self._repack(fresh / "package.deb")
            meta = {"home": str(home), "package": str(package or ""), "before": asdict(self._look(home))}
            (fresh / "meta.json").write_text(json.dumps(meta))
            self._this_boot.touch()
            os.sync()
            fresh.replace(self.former)
            os.sync()
            try:
                # First the way back: without it, nothing is tried.
                self._later(within, f"{RETURN}.service")
                self._later(ANSWER_S, f"{TRIAL}.service", PROGRAM, "apply")
            except TrialError:
                self._run(["systemctl", "stop", f"{RETURN}.timer"])
                self._forget()
                raise

    def _later(self, seconds: float, unit: str, *command: str) -> None:
        timer = (f"--on-active={seconds:g}", "--timer-property=AccuracySec=100ms")
        self._do("systemd-run", "--quiet", "--collect", f"--unit={unit}", *timer, *command)

    def _repack(self, target: Path) -> None:
        """Make a package of what is installed: a repository, or apt's cache, need not have its version any more."""
        with tempfile.TemporaryDirectory(dir=self._state) as made:
            tree = Path(made) / "package"
            control = tree / "DEBIAN"
            control.mkdir(mode=0o755, parents=True)
            tree.chmod(0o755)
            for line in self._do("dpkg-query", "--listfiles", PACKAGE).splitlines():
                path, inside = self._root / line.lstrip("/"), tree / line.lstrip("/")
                # Folders are there already, and /lib, which dpkg lists as one, is a link.
                if not path.is_dir() and (path.is_symlink() or path.is_file()):
                    inside.parent.mkdir(parents=True, exist_ok=True)
                    shutil.copy2(path, inside, follow_symlinks=False)
            for line in self._do("dpkg-query", "--control-path", PACKAGE).splitlines():
                if (name := line.rpartition(".")[2]) in SCRIPTS:
                    shutil.copy2(self._root / line.lstrip("/"), control / name)
            (control / "control").write_text(described(self._do("dpkg-query", "--status", PACKAGE)))
            self._do("dpkg-deb", "--root-owner-group", "-Zgzip", "-z1", "--build", str(tree), str(target))

    # the change

    def apply(self) -> None:
        """Bring the daemon to what is wanted; what fails at once is put back at once."""
        with self._alone():
            meta = self._meta()
            for path in sorted(self.wanted.rglob("*")):
                if path.is_file():
                    copy(path, Path(meta["home"]) / path.relative_to(self.wanted))
            why = self._install(meta["package"]) if meta["package"] else ""
            why = why or self._restart()
            self._applied.touch()
            if why:
                self._give_up([why])

    def _install(self, package: str) -> str:
        """Install a package and return what was wrong with that."""
        options = ("-o", f"DPkg::Lock::Timeout={WAIT_FOR_DPKG_S}", "-o", "Dpkg::Options::=--force-confold")
        done = self._run(["apt-get", "install", "--yes", "--allow-downgrades", *options, package])
        return f"the package can't be installed: {last_line(done)}" if done.returncode else ""

    def _restart(self) -> str:
        """Restart the daemon and return what was wrong with that."""
        # After some starts that failed systemd refuses any.
        self._run(["systemctl", "reset-failed", DAEMON])
        done = self._run(["systemctl", "restart", DAEMON])
        return f"zerotier-one doesn't start: {last_line(done)}" if done.returncode else ""

    # what is thought of it

    def _look(self, home: Path) -> Health:
        """How the daemon is now."""
        shown = self._run(["systemctl", "show", "--property=MainPID", "--value", DAEMON]).stdout.strip()
        pid = int(shown) if shown.isdigit() else 0
        try:
            info, networks = (
                json.loads(self._do("zerotier-cli", f"-D{home}", "-j", what)) for what in ("info", "listnetworks")
            )
            well = sorted(str(each["nwid"]) for each in networks if each["status"] == "OK")
            return Health(True, bool(info["online"]), well, pid)
        except (TrialError, ValueError, KeyError, TypeError):
            return Health(pid=pid)

    def judge(self, within: float) -> list[str]:
        """Wait until the daemon is as well as before; returns why it isn't, and has it put back then."""
        started = self._monotonic()
        since, pid = started, 0
        while True:
            now = self._monotonic()
            reasons, gave_up = ["the change wasn't made in time"], False
            try:
                meta = self._meta()
            except OSError:
                return list(self.told().reasons) or ["it was taken back"]
            if self._reasons.exists():
                return list(json.loads(self._reasons.read_text()))
            if self._applied.exists():
                health = self._look(Path(meta["home"]))
                if health.pid != pid:
                    since, pid = now, health.pid
                reasons = faults(Health(**meta["before"]), health)
                if not reasons and now - since >= UP_S:
                    self._well.touch()
                    return []
                reasons = reasons or ["zerotier-one ends soon after its start"]
                gave_up = self._is("failed", DAEMON)
            if gave_up or now - started >= within:
                self._give_up(reasons)
                return reasons
            self._sleep(STEP_S)

    def _give_up(self, reasons: list[str]) -> None:
        """Have systemd put back what ran before: the connection of whoever asked may end with it."""
        try:
            self._reasons.write_text(json.dumps(reasons))
        except FileNotFoundError:
            return
        self._run(["systemctl", "start", "--no-block", f"{RETURN}.service"])

    # the end

    def keep(self, within: float) -> None:
        """Keep what is on trial; it is judged first where whoever asked got no answer to that.

        Raises:
            TrialError: it was put back already, or will be.
        """
        if not self._well.exists() and (reasons := self.judge(within)):
            raise TrialError("; ".join(reasons))
        with self._alone():
            if not self._well.exists() or self._reasons.exists():
                raise TrialError("what was on trial has been taken back")
            self._note(Outcome("kept"))
            self._forget()
            self._run(["systemctl", "stop", f"{RETURN}.timer"])

    def put_back(self) -> None:
        """Put back what ran before, unless it was kept.

        Raises:
            TrialError: it isn't back yet; systemd tries again.
        """
        # Whatever hangs there mustn't keep what ran before from its place.
        self._run(["systemctl", "stop", f"{RETURN}.timer", f"{TRIAL}.timer", f"{TRIAL}.service"])
        with self._alone():
            if self.former.exists():
                self._put_back()

    def _put_back(self) -> None:
        meta = self._meta()
        for name in CONFIGURATION:
            replace(self.former / name, Path(meta["home"]) / name)
        why = ""
        if meta["package"]:
            options = ("--force-confold", "--force-downgrade")
            done = self._run(["dpkg", "--install", *options, str(self.former / "package.deb")])
            why = last_line(done) if done.returncode else ""
        # Also if dpkg failed: the former settings alone may do.
        why = self._restart() or why
        if why:
            raise TrialError(f"what ran before isn't back: {why}")
        reasons = ["nobody confirmed it in time"]
        if self._reasons.exists():
            reasons = json.loads(self._reasons.read_text())
        elif not self._this_boot.exists():
            reasons = ["the host restarted before it was confirmed"]
        self._note(Outcome("put back", reasons))
        self._forget()

    def _forget(self) -> None:
        """End the trial: nothing is put back from here on."""
        old = self._state / "former.old"
        shutil.rmtree(old, ignore_errors=True)
        self.former.replace(old)
        os.sync()
        shutil.rmtree(old, ignore_errors=True)
        shutil.rmtree(self.wanted, ignore_errors=True)
        self._this_boot.unlink(missing_ok=True)

    def _note(self, outcome: Outcome) -> None:
        fresh = self._state / "outcome.json.new"
        fresh.write_text(json.dumps(asdict(outcome)) + "\n")
        fresh.replace(self._state / "outcome.json")

    def told(self) -> Outcome:
        """How the last trial went."""
        try:
            return Outcome(**json.loads((self._state / "outcome.json").read_text()))
        except (OSError, ValueError, TypeError):
            return Outcome("unknown")

    def outcome(self, within: float) -> Outcome:
        """Wait for the end of the trial and return how it went; ``unknown`` where it has no end in this time."""
        until = self._monotonic() + within
        while self.former.exists():
            if self._monotonic() >= until:
                return Outcome("unknown", ["the trial hasn't ended"])
            self._sleep(STEP_S)
        return self.told()


def described(status: str) -> str:
    """What a package's control file says, of what dpkg says of it."""
    kept, skips = [], False
    for line in status.strip().splitlines():
        if not line.startswith(" "):
            skips = line.partition(":")[0] in ("Status", "Conffiles", "Config-Version")
        if not skips:
            kept.append(line)
    return "\n".join(kept) + "\n"


def faults(before: Health, now: Health) -> list[str]:
    """What is worse than before."""
    if not now.answers:
        return ["zerotier-one doesn't answer"]
    found = [] if now.online or not before.online else ["zerotier-one was online before, and reaches no root now"]
    return found + [f"network {each} was OK before, and isn't" for each in before.networks if each not in now.networks]


def main() -> int:
    parser = argparse.ArgumentParser(prog=TRIAL, description=(__doc__ or "").splitlines()[0])
    commands = parser.add_subparsers(dest="command", required=True)
    begin = commands.add_parser("try", help="note what runs, arm the way back, and change over a second later")
    begin.add_argument("--home", type=Path, required=True, help="the daemon's home")
    begin.add_argument("--within", type=float, required=True, help="seconds until what ran before returns")
    begin.add_argument("--package", type=Path, help="a package to install")
    commands.add_parser("apply", help="change over (systemd runs this)")
    judge = commands.add_parser("judge", help="wait until the daemon is as well as before, or put back what ran")
    keep = commands.add_parser("keep", help="keep what is on trial, as whoever has connected anew")
    commands.add_parser("return", help="put back what ran before")
    outcome = commands.add_parser("outcome", help="wait for the trial's end and print how it went, as JSON")
    for command in (judge, keep, outcome):
        command.add_argument("--within", type=float, required=True, help="seconds to wait at most")
    options = parser.parse_args()
    trial = Trial(Path("/"), run)
    try:
        if options.command == "try":
            trial.begin(options.home, options.within, options.package)
        elif options.command == "judge":
            if reasons := trial.judge(options.within):
                raise TrialError("; ".join(reasons))
        elif options.command == "keep":
            trial.keep(options.within)
        elif options.command == "outcome":
            print(json.dumps(asdict(trial.outcome(options.within))))
        else:
            {"apply": trial.apply, "return": trial.put_back}[options.command]()
    except TrialError as error:
        print(f"{TRIAL}: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
