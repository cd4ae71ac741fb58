#!/usr/bin/env python3
"""Run the molecule scenarios of roles, some side by side, and sum what they found in one file of JUnit's format.

Each scenario has a host of its own, so that they share nothing. Those of a whole lab aren't among them: they want the
machine for themselves, and `site` has the tests of all. Those of the roles for AWS run when they are named:
tests/emulator applies and looks at the same on one environment, which each of them would build anew. What a scenario
printed is in test-results/molecule-<scenario>.log; of one that failed its end is shown.
"""

import argparse
import os
import subprocess
import sys
import time
import xml.etree.ElementTree as ET
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
END_LINES = 60
ON_EMULATOR = "aws_"
WHOLE_LAB = ("fleet", "onboarding", "replacement", "site")


def scenarios() -> list[str]:
    """Names of the roles' scenarios; those with much to apply first, so that the last to end are short."""
    every = (path.parent for path in (ROOT / "molecule").glob("*/molecule.yml"))
    found = [path for path in every if path.name not in WHOLE_LAB]
    return [path.name for path in sorted(found, key=lambda path: -(path / "converge.yml").stat().st_size)]


def run(name: str, results: Path) -> tuple[str, bool, float]:
    """Run a scenario's sequence; returns its name, whether all went well, and the seconds that it took."""
    (results / f"molecule-{name}.xml").unlink(missing_ok=True)
    started = time.monotonic()
    with (results / f"molecule-{name}.log").open("w") as log:
        done = subprocess.run(
            [Path(sys.executable).with_name("molecule"), "test", "--scenario-name", name],
            cwd=ROOT,
            env={
                **os.environ,
                "PARKMESH_TEST_RESULTS": str(results),
                "MOLECULE_COMMAND_BORDERS": "false",
                "NO_COLOR": "1",
            },
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            check=False,
        )
    return name, done.returncode == 0, time.monotonic() - started


def cases(name: str, well: bool, seconds: float, results: Path) -> list[ET.Element]:
    """The scenario's tests, and one that stands for its steps: a step that failed may have come before any test."""
    path = results / f"molecule-{name}.xml"
    found = list(ET.parse(path).getroot().iter("testcase")) if path.exists() else []  # noqa: S314 - our own
    steps = ET.Element("testcase", classname=f"molecule.{name}", name="steps", time=f"{seconds:.1f}")
    if not well:
        ET.SubElement(steps, "failure", message=f"see molecule-{name}.log")
    return [steps, *found]


def main() -> int:
    every = scenarios()
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument(
        "scenario", nargs="*", help=f"those to run, of {', '.join(sorted(every))} (all but {ON_EMULATOR}…)"
    )
    parser.add_argument("--at-once", type=int, default=2, help="how many run side by side (2)")
    parser.add_argument("--results", type=Path, default=ROOT / "test-results", help="folder for logs and results")
    options = parser.parse_args()
    if unknown := sorted(set(options.scenario) - set(every)):
        parser.error(f"no such scenario: {', '.join(unknown)}; there are {', '.join(sorted(every))}")
    wanted = options.scenario or [name for name in every if not name.startswith(ON_EMULATOR)]
    options.results.mkdir(parents=True, exist_ok=True)
    suite = ET.Element("testsuite", name="scenarios")
    failed = False
    with ThreadPoolExecutor(options.at_once) as pool:
        for name, well, seconds in pool.map(lambda each: run(each, options.results), wanted):
            print(f"{name}: {'ok' if well else 'FAILED'} in {seconds:.0f} s", flush=True)
            if not well:
                failed = True
                log = (options.results / f"molecule-{name}.log").read_text(errors="replace").splitlines()
                print("\n".join(f"  {line}" for line in log[-END_LINES:]), flush=True)
            suite.extend(cases(name, well, seconds, options.results))
    ET.ElementTree(suite).write(options.results / "scenarios.xml")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
