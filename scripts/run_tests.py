#!/usr/bin/env python3
"""Run the test stages from quick to slow and end with one line that sums them: `N passed, N failed, N skipped`.

Every stage runs even when an earlier one failed, so that one run tells everything; what was skipped is printed with its
reason. A linter counts as one test.
"""

import argparse
import os
import subprocess
import sys
import time
import xml.etree.ElementTree as ET
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "test-results"
BIN = ROOT / ".venv" / "bin"
BYTECODE = ROOT / ".cache" / "bytecode"


@dataclass(frozen=True)
class Step:
    """One command. With ``junit`` its counts are read from that file, else the exit code counts as one test.

    A stage's steps run one after the other, but beside those of its other lanes.
    """

    name: str
    command: Sequence[str]
    junit: Path | None = None
    lane: int = 0


@dataclass
class Tally:
    passed: int = 0
    failed: int = 0
    skipped: list[str] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)
    seconds: float = 0


@dataclass(frozen=True)
class Stage:
    """What a stage's steps amount to by their names, and how long all of it took."""

    steps: Sequence[tuple[str, Tally]]
    seconds: float


def pytest(name: str, *arguments: str) -> Step:
    junit = RESULTS / f"{name}.xml"
    return Step(name, ["pytest", "-q", f"--junit-xml={junit}", "-o", f"junit_suite_name={name}", *arguments], junit)


def shell_scripts() -> list[str]:
    """Every tracked or new file that says in its first line that a shell runs it."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
    )
    found = []
    for name in listed.stdout.splitlines():
        path = ROOT / name
        if path.is_file() and not path.is_symlink():
            with path.open("rb") as stream:
                if stream.readline().startswith((b"#!/bin/sh", b"#!/usr/bin/env bash", b"#!/bin/bash")):
                    found.append(name)
    return found


# Whole playbooks against lab.aws and lab.zerotier: minutes, so not among the quick ones.
PLAYBOOKS = "tests/unit/plugins/test_playbook_overlay.py"

# Files that share nothing run side by side; the tests of a file stay together and in their order. The files run in
# theirs: else those with the most tests begin, and one of few long tests is the last, beside nothing.
TWO_WORKERS = ("--numprocesses=2", "--dist=loadfile", "--no-loadscope-reorder")


# ansible-lint is one process for minutes, and ZeroTier's daemons wait for each other most of the time.
SIDE_BY_SIDE = ("lint", "zerotier")


def stages() -> dict[str, list[Step]]:
    """The stages in the order they run: what fails fastest comes first, what needs containers last."""
    return {
        "lint": [
            # One processor is busy with mypy, the other with what loads Ansible.
            Step("ruff check", ["ruff", "check", "."]),
            Step("ruff format", ["ruff", "format", "--check", "."]),
            Step("mypy app", ["mypy", "app/src"]),
            Step(
                "mypy plugins",
                [
                    "mypy",
                    "module_utils",
                    "library",
                    "inventory_plugins",
                    "filter_plugins",
                    "action_plugins",
                    "callback_plugins",
                    "playbooks/callback_plugins",
                    "scripts",
                ],
            ),
            Step("mypy lab", ["mypy", "-p", "lab"]),
            Step("yamllint", ["yamllint", "--strict", "."]),
            Step("ansible-lint", ["ansible-lint", "--offline", "--profile", "production"], lane=1),
            Step("validate-modules", ["python", "scripts/sanity.py"], lane=1),
            Step("shellcheck", ["shellcheck", *shell_scripts()]),
            Step("reference", ["python", "scripts/reference.py", "--check"]),
        ],
        "zerotier": [pytest("lab-zerotier", "lab/tests/zerotier")],
        "unit": [
            pytest("unit", *TWO_WORKERS, "tests/unit", "lab/tests/unit", f"--ignore={PLAYBOOKS}"),
            # A file's tests share what is costly to make.
            pytest("app", *TWO_WORKERS, "app/tests", "--ignore=app/tests/server/browser"),
            # A browser is many processes, and fills the machine by itself.
            pytest("browser", "app/tests/server/browser"),
        ],
        # Each file has servers of its own, and a playbook waits for one process at a time: two files run side by side.
        "emulator": [pytest("emulator", *TWO_WORKERS, PLAYBOOKS, "tests/emulator", "tests/awx")],
        "lab": [
            # Labs of different names share nothing but the base image, which is built under a lock. They wait a lot, so
            # that the lanes together still leave the machine time. The system's own scenario is the longest of all.
            pytest("lab", *TWO_WORKERS, "lab/tests/whole"),
            Step(
                "scenarios",
                ["python", "-m", "tests.warm_python", "python", "scripts/scenarios.py"],
                RESULTS / "scenarios.xml",
            ),
            Step(
                "molecule",
                ["python", "-m", "tests.warm_python", "molecule", "test", "--scenario-name", "site"],
                RESULTS / "molecule.xml",
                lane=1,
            ),
        ],
    }


def why(case: ET.Element) -> str:
    """The first line of what a failed test's result says, cut to a line's length; empty when it didn't fail."""
    for found in (case.find("failure"), case.find("error")):
        if found is not None:
            lines = found.get("message", "").strip().splitlines()
            return (lines[0] if lines else "no reason given")[:200]
    return ""


def end(output: str) -> str:
    """The last lines of a step's output, for the summary when no test says why it failed."""
    lines = [line[:200] for line in output.splitlines() if line.strip()]
    return "".join(f"\n    {line}" for line in lines[-8:])


def count(step: Step, returncode: int, output: str = "") -> Tally:
    """What a step's run amounts to. A run that wrote no result, or failed without a failed test, is a failure."""
    tally = Tally()
    if step.junit is not None and step.junit.exists():
        for case in ET.parse(step.junit).getroot().iter("testcase"):  # noqa: S314 - written by our own pytest run
            name = f"{case.get('classname')}::{case.get('name')}"
            skipped = case.find("skipped")
            if reason := why(case):
                tally.failed += 1
                tally.failures.append(f"{name}: {reason}")
            elif skipped is not None:
                tally.skipped.append(f"{name}: {skipped.get('message', 'no reason given')}")
            else:
                tally.passed += 1
        if returncode and not tally.failed:
            tally.failed += 1
            tally.failures.append(f"{step.name} (exit {returncode}, no failed test){end(output)}")
    elif returncode:
        tally.failed, tally.failures = 1, [f"{step.name} (exit {returncode}){end(output)}"]
    else:
        tally.passed = 1
    return tally


def run(step: Step, held: bool = False) -> Tally:
    """Run a step; with ``held`` its output is shown at its end, in one piece."""
    environment = dict(os.environ)
    environment["PATH"] = f"{BIN}{os.pathsep}{environment['PATH']}"
    environment["PYTHONPATH"] = str(ROOT / "app" / "src")
    # Each AWS module is a process that imports boto3, and compiles it anew unless bytecode is kept: half of its time.
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    environment["PYTHONPYCACHEPREFIX"] = str(BYTECODE)
    environment["PARKMESH_LAB"] = "test"
    environment["PARKMESH_TEST_RESULTS"] = str(RESULTS)
    if step.junit is not None:
        step.junit.unlink(missing_ok=True)
    started = time.monotonic()
    print(f"=== {step.name} begins" if held else f"\n=== {step.name}", flush=True)
    with subprocess.Popen(
        step.command,
        cwd=ROOT,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    ) as process:
        assert process.stdout is not None
        pieces = []
        # As it comes: pytest's dots make no line for minutes.
        while piece := os.read(process.stdout.fileno(), 1 << 16):
            pieces.append(piece)
            if not held:
                sys.stdout.buffer.write(piece)
                sys.stdout.buffer.flush()
    output = b"".join(pieces).decode(errors="replace")
    tally = count(step, process.returncode, output)
    tally.seconds = time.monotonic() - started
    word = "FAILED" if tally.failed else "ok"
    shown = f"\n=== {step.name}\n{output}" if held else ""
    print(f"{shown}=== {step.name}: {word} in {tally.seconds:.0f} s", flush=True)
    return tally


def run_stage(steps: Sequence[Step], held: bool = False) -> Stage:
    """Run a stage's lanes side by side. Where there are several, or ``held``, outputs are shown in one piece each."""
    lanes = [[step for step in steps if step.lane == lane] for lane in sorted({step.lane for step in steps})]

    def run_lane(lane: Sequence[Step]) -> list[tuple[str, Tally]]:
        return [(step.name, run(step, held=held or len(lanes) > 1)) for step in lane]

    started = time.monotonic()
    with ThreadPoolExecutor(len(lanes)) as pool:
        ran = [each for lane in pool.map(run_lane, lanes) for each in lane]
    return Stage(ran, time.monotonic() - started)


def run_stages(wanted: Mapping[str, Sequence[Step]]) -> dict[str, Stage]:
    """Run stages one after the other, but those of SIDE_BY_SIDE together, in the place of the first of them."""
    results: dict[str, Stage] = {}
    for name in wanted:
        group = [other for other in SIDE_BY_SIDE if other in wanted] if name in SIDE_BY_SIDE else [name]
        if name not in results:
            with ThreadPoolExecutor(len(group)) as pool:
                ran = pool.map(lambda each: run_stage(wanted[each], held=len(group) > 1), group)  # noqa: B023 - run here
                results.update(zip(group, ran, strict=True))
    return results


def summarise(tallies: Iterable[Tally]) -> int:
    """Print what failed and what was skipped, then the line that counts; returns the exit code."""
    tallies = list(tallies)
    skipped = [line for tally in tallies for line in tally.skipped]
    failures = [line for tally in tallies for line in tally.failures]
    print()
    for line in skipped:
        print(f"skipped: {line}")
    for line in failures:
        print(f"failed: {line}")
    passed = sum(tally.passed for tally in tallies)
    failed = sum(tally.failed for tally in tallies)
    print(f"{passed} passed, {failed} failed, {len(skipped)} skipped")
    return 1 if failed or not passed else 0


def times(results: Mapping[str, Stage], seconds: float) -> list[str]:
    """Return a line per stage with the seconds that it and its steps took, and a last one with those of the run."""
    lines = []
    for name, stage in results.items():
        parts = ", ".join(f"{step} {tally.seconds:.0f}" for step, tally in stage.steps)
        lines.append(f"{name:10} {stage.seconds:6.0f} s  ({parts})")
    return [*lines, f"{'all':10} {seconds:6.0f} s"]


def main() -> None:
    every = stages()
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--only", help=f"stages to run, comma-separated ({', '.join(every)})")
    options = parser.parse_args()
    wanted = options.only.split(",") if options.only else list(every)
    unknown = [name for name in wanted if name not in every]
    if unknown:
        parser.error(f"no such stage: {', '.join(unknown)}; there are {', '.join(every)}")
    RESULTS.mkdir(exist_ok=True)
    started = time.monotonic()
    results = run_stages({name: steps for name, steps in every.items() if name in wanted})
    print()
    for line in times(results, time.monotonic() - started):
        print(line)
    sys.exit(summarise(tally for stage in results.values() for _, tally in stage.steps))


if __name__ == "__main__":
    main()
