#!/usr/bin/python3
"""Put a gateway's wanted release, configuration and unit on trial: kept if the gateway is well, put back if it isn't.

No part of a release, and of Python's own library only: it has to work where a release doesn't. systemd runs it
(parkmesh-gateway-rollout.service), so a trial comes to its end although the connection to the gateway is lost.

In /var/lib/parkmesh-rollout:
  wanted/        what the inventory wants: the release's id and the files
  pulled/        a release that the gateway fetched itself (parkmesh-pull), with the files that run now
  previous/      what ran before, as long as its successor is unproven; it is put back at the next boot
  outcome.json   how the last trial went
"""

import argparse
import fcntl
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path

UNIT = "parkmesh-gateway.service"
FILES = {"gateway.json": "etc/parkmesh/gateway.json", UNIT: f"etc/systemd/system/{UNIT}"}
"""Files that a trial changes, by their names in the folders; Ansible writes the wanted ones with owner and mode."""
RELEASE = "release"
ENDINGS_MAX = 2
"""An agent that ended this often since its start isn't waited for any longer: its gate is shut meanwhile."""
ANSWER_S = 20.0
"""Neither is one that hasn't answered for this long."""
STARTED_S = 30.0
"""Nor one that takes so long from the end of the one before to its first answer."""
TIMED_OUT = 124
"""What timeout(1) exits with."""
STEP_S = 3
NOTHING_KNOWN = '{"well": false, "checks": {}, "faults": {}, "known": {}}'

Run = Callable[[Sequence[str]], "subprocess.CompletedProcess[str]"]


@dataclass
class Outcome:
    """``result``: unchanged, kept, refused (nothing was touched) or put back."""

    result: str
    release: str
    was: str = ""
    reasons: list[str] = field(default_factory=list)
    known: list[str] = field(default_factory=list)


def run(command: Sequence[str]) -> "subprocess.CompletedProcess[str]":
    """Run a command and return what it printed; one that can't be started or doesn't end fails like any other."""
    try:
        return subprocess.run(command, check=False, capture_output=True, text=True, timeout=120)
    except (OSError, subprocess.TimeoutExpired) as error:
        return subprocess.CompletedProcess(command, 127, "", str(error))


def last_line(done: "subprocess.CompletedProcess[str]") -> str:
    lines = (done.stderr.strip() or done.stdout.strip() or f"exit code {done.returncode}").splitlines()
    return lines[-1][:300]


def flush(path: Path) -> None:
    """Bring a file or a folder's entries to the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def copy(source: Path, target: Path) -> None:
    """Put a copy in the target's place, with owner and mode, as a whole or not at all."""
    fresh = target.with_name(f".{target.name}.new")
    shutil.copyfile(source, fresh)
    status = source.stat()
    os.chown(fresh, status.st_uid, status.st_gid)
    fresh.chmod(status.st_mode & 0o7777)
    flush(fresh)
    fresh.replace(target)
    flush(target.parent)


@contextmanager
def alone(lock: Path) -> Iterator[None]:
    """Wait until no other trial runs: one that was pushed and one that was fetched may come together."""
    with lock.open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


class Rollout:
    """A gateway's files below ``root``, and what is done with them; ``run`` runs systemd's and releases' commands."""

    def __init__(
        self, root: Path, run: Run, *, folder: str = "wanted", sleep: Callable[[float], None] = time.sleep
    ) -> None:
        self._root, self._run, self._sleep = root, run, sleep
        self._home = root / "opt/parkmesh"
        self._link = self._home / "current"
        self._state = root / "var/lib/parkmesh-rollout"
        self.lock = self._state / "lock"
        self.wanted, self.previous = self._state / folder, self._state / "previous"

    def wanted_release(self) -> str:
        return (self.wanted / RELEASE).read_text().strip()

    def current_release(self) -> str:
        """Return the id of the release that is linked, nothing where none is."""
        return self._link.readlink().name if self._link.is_symlink() else ""

    def _live(self, name: str) -> Path:
        return self._root / FILES[name]

    def installed(self) -> bool:
        """Tell whether there is a gateway to go back to."""
        return self._link.is_symlink() and all(self._live(name).exists() for name in FILES)

    def differences(self, release: str) -> list[str]:
        """Return what isn't as wanted."""
        found = [] if self.current_release() == release else [f"release {release}"]
        for name in FILES:
            live, wanted = self._live(name), self.wanted / name
            if wanted.exists() and not (live.exists() and live.read_bytes() == wanted.read_bytes()):
                found.append(name)
        return found

    # the steps of a trial; whatever is interrupted between two of them, settle() mends

    def keep_previous(self) -> None:
        """Note what runs now. From here on it is put back unless ``prove`` is reached."""
        fresh = self._state / "previous.new"
        shutil.rmtree(fresh, ignore_errors=True)
        fresh.mkdir(mode=0o700)
        for name in FILES:
            copy(self._live(name), fresh / name)
        (fresh / RELEASE).write_text(self.current_release())
        flush(fresh / RELEASE)
        flush(fresh)
        fresh.replace(self.previous)
        flush(self._state)

    def install(self, folder: Path) -> None:
        """Link the release and take over the files of a folder: ``wanted`` or ``previous``."""
        for name in FILES:
            copy(folder / name, self._live(name))
        fresh = self._home / ".current.new"
        fresh.unlink(missing_ok=True)
        fresh.symlink_to(self._home / "releases" / (folder / RELEASE).read_text().strip())
        fresh.replace(self._link)
        flush(self._home)

    def prove(self) -> None:
        """Forget what ran before."""
        old = self._state / "previous.old"
        shutil.rmtree(old, ignore_errors=True)
        if self.previous.exists():
            self.previous.replace(old)
            flush(self._state)
            shutil.rmtree(old, ignore_errors=True)

    def settle(self, reason: str, *, boot: bool = False) -> bool:
        """Put back what ran before an unproven release; tell whether there was one. At boot the agent starts by itself
        afterwards."""
        if not self.previous.exists():
            return False
        unproven, was = self.current_release(), (self.previous / RELEASE).read_text().strip()
        self.install(self.previous)
        self._run(["systemctl", "daemon-reload"])
        if not boot:
            self._run(["systemctl", "restart", UNIT])
        self.prove()
        self.note(Outcome("put back", unproven, was, [reason]))
        return True

    def note(self, outcome: Outcome) -> None:
        fresh = self._state / "outcome.json.new"
        fresh.write_text(json.dumps(asdict(outcome), indent=2) + "\n")
        flush(fresh)
        fresh.replace(self._state / "outcome.json")
        flush(self._state)

    # the trial

    def apply(self, within: float, up: float) -> Outcome:
        """Bring the gateway to what is wanted and return how it went."""
        self.settle("its trial was interrupted")
        release = self.wanted_release()
        if not self.differences(release):
            return Outcome("unchanged", release)
        outcome = self._try(release, within, up)
        self.note(outcome)
        return outcome

    def _parkmesh(self, release: str, *arguments: str) -> "subprocess.CompletedProcess[str]":
        return self._run([str(self._home / "releases" / release / "bin/parkmesh"), "gateway", *arguments])

    def _try(self, release: str, within: float, up: float) -> Outcome:
        was, first = self.current_release(), not self.installed()
        checked = self._parkmesh(release, "check-config", "--config", str(self.wanted / "gateway.json"))
        if checked.returncode:
            return Outcome("refused", release, was, [last_line(checked)])
        before = self._state / "before.json"
        if not first:
            asked = self._parkmesh(release, "health", "--config", str(self._live("gateway.json")))
            # The earlier configuration may be one that this release doesn't take: then nothing is known of before.
            before.write_text(asked.stdout if asked.returncode in (0, 1) else NOTHING_KNOWN)
            self._run(["sync"])  # an unpacked release must be on the disk before it is linked
            self.keep_previous()
        else:
            before.write_text(NOTHING_KNOWN)
        self.install(self.wanted)
        reasons, known = self._start_and_judge(release, within, up)
        if not reasons:
            self.prove()
            return Outcome("kept", release, was, [], known)
        if first:
            return Outcome("kept", release, was, reasons, known)
        self.settle("; ".join(reasons))
        if not self._answers(was):
            reasons.append("after it was put back the earlier release doesn't answer either")
        return Outcome("put back", release, was, reasons, known)

    def _start_and_judge(self, release: str, within: float, up: float) -> tuple[list[str], list[str]]:
        """Start the agent and return what is wrong with it, and what was wrong before already."""
        started, since = time.monotonic(), time.time()
        self._run(["systemctl", "daemon-reload"])
        # systemd calls the agent started when cameras get an answer, and waits minutes for one that hangs: too long for
        # a gate.
        begun = self._run(["timeout", f"{STARTED_S:g}", "systemctl", "restart", UNIT])
        if begun.returncode == TIMED_OUT:
            return [f"the agent didn't answer within {STARTED_S:g} s of its start"], []
        if begun.returncode:
            return [self._last_words(since) or last_line(begun)], []
        # It has just answered: on a slow host the way here took a good part of ANSWER_S.
        endings, answered = self._endings(), time.monotonic()
        while True:
            done = self._parkmesh(
                release,
                *("health", "--config", str(self._live("gateway.json"))),
                *("--before", str(self._state / "before.json"), f"--within={STEP_S}", f"--up={up:g}"),
            )
            faults, known = verdict(done)
            if done.returncode == 0:
                return [], known
            now = time.monotonic()
            if "runs" not in faults:
                answered = now
            ended = self._endings() - endings
            if ended >= ENDINGS_MAX:
                return [f"the agent ended {ended} times: {self._last_words(since)}"], known
            if now - answered >= min(ANSWER_S, within) or now - started >= within:
                if "runs" in faults and (words := self._last_words(since)):
                    faults["runs"] += f": {words}"
                return [f"{name}: {fault}" for name, fault in faults.items()], known
            self._sleep(1)

    def _answers(self, release: str) -> bool:
        """Tell whether the agent answers within half a minute; its release may be too old to judge its health."""
        for _ in range(30):
            done = self._parkmesh(release, "status", "--config", str(self._live("gateway.json")))
            if done.returncode == 0 and json.loads(done.stdout).get("running"):
                return True
            self._sleep(1)
        return False

    def _endings(self) -> int:
        shown = self._run(["systemctl", "show", "--property=NRestarts", "--value", UNIT]).stdout.strip()
        return int(shown) if shown.isdigit() else 0

    def _last_words(self, since: float) -> str:
        """Return the last line that the agent wrote."""
        only = [f"_SYSTEMD_UNIT={UNIT}", f"--since=@{int(since)}", "--lines=1"]
        return self._run(["journalctl", "--quiet", "--output=cat", *only]).stdout.strip()[:300]


def verdict(done: "subprocess.CompletedProcess[str]") -> tuple[dict[str, str], list[str]]:
    """Return what the command ``health`` found to be wrong, by check, and what was so before."""
    try:
        document = json.loads(done.stdout)
        faults, known = dict(document["faults"]), [f"{name}: {fault}" for name, fault in document["known"].items()]
    except (ValueError, KeyError, AttributeError):
        return {"runs": last_line(done)}, []
    return faults or ({} if done.returncode == 0 else {"health": last_line(done)}), known


def main() -> int:
    parser = argparse.ArgumentParser(prog="parkmesh-rollout", description=(__doc__ or "").splitlines()[0])
    commands = parser.add_subparsers(dest="command", required=True)
    compare = commands.add_parser("compare", help="print what isn't as wanted, as a JSON list")
    compare.add_argument("--release", required=True, help="the wanted release's id")
    apply = commands.add_parser("apply", help="put what is wanted on trial")
    apply.add_argument("--folder", choices=["wanted", "pulled"], default="wanted", help="where it is")
    apply.add_argument("--within", type=float, required=True, help="seconds in which it must be well")
    apply.add_argument("--up", type=float, required=True, help="seconds that the agent must have been up")
    settle = commands.add_parser("settle", help="put back what ran before an unproven release")
    settle.add_argument("--boot", action="store_true", help="the agent hasn't started yet")
    options = parser.parse_args()
    rollout = Rollout(Path("/"), run, folder=getattr(options, "folder", "wanted"))
    if options.command == "compare":
        print(json.dumps(rollout.differences(options.release)))
    elif options.command == "settle":
        why = "the host restarted before it was proven" if options.boot else "its trial was interrupted"
        with alone(rollout.lock):
            rollout.settle(why, boot=options.boot)
    else:
        with alone(rollout.lock):
            outcome = rollout.apply(options.within, options.up)
        print(json.dumps(asdict(outcome)))
        return 0 if outcome.result in ("unchanged", "kept") else 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
