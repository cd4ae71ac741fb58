"""Kill the AWS playbooks at moments chosen by a seed, and throttle their calls; each time they must come to their end.

A playbook is killed when lab.aws has made a change whose answer it hasn't got, which is the worst moment. Run
again, all must be there, once each, and a check must find nothing to do. Then all of it must go.

    python -m tests.emulator.interruptions --kills 20 --seed 1
    python -m tests.emulator.interruptions --throttled 0.2 --seed 1
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from lab.aws import faults
from tests.warm_python import interpreter, playbook_program

from .conftest import CREDENTIALS, ROOT, Aws
from .outcomes import resources
from .test_playbooks import DESTROY, STEPS

SPARES = CREDENTIALS["AWS_ACCESS_KEY_ID"]
"""The key of this program's own calls."""
PATIENCE_S = 600.0
ORDINARY = str(Path(sys.executable).with_name("ansible-playbook"))
CONFIRM = ("-e", "destroy_confirm=parkmesh-test", "-e", "destroy_protected=true")

Steps = Sequence[tuple[str, tuple[str, ...]]]


def counts(aws: Aws) -> dict[str, int]:
    """How many there are of each kind of resource."""
    return {kind: len(there) for kind, there in resources(aws).items()}


def kill(process: subprocess.Popen[Any]) -> None:
    """Kill a process and all that it began, also in sessions of their own, as Ansible's workers are."""
    parents: dict[int, list[int]] = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            text = path.read_text()
        except OSError:
            continue
        parents.setdefault(int(text.rpartition(")")[2].split()[1]), []).append(int(path.parent.name))
    doomed = [process.pid]
    for pid in doomed:
        doomed += parents.get(pid, [])
    for pid in doomed:
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            continue
    process.wait()


def interrupted(aws: Aws, steps: Steps, change: int) -> bool:
    """Run the steps, and kill the one that makes this change; whether one was killed."""
    # The ordinary programs: what tests.warm_python forks is no child of the run, would live on and try its call again.
    aws = replace(aws, python=sys.executable, ansible_playbook=ORDINARY)
    faults.ask(aws.url, "PUT", hold_after=change, spares=SPARES)
    deadline = time.monotonic() + PATIENCE_S
    try:
        for playbook, arguments in steps:
            given = aws.command(playbook, *arguments)
            process = subprocess.Popen(**given, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            while process.poll() is None:
                if faults.ask(aws.url, "GET")["changes"] >= change:
                    kill(process)
                    return True
                if time.monotonic() > deadline:
                    kill(process)
                    raise TimeoutError(f"{playbook} came to no end")
                time.sleep(0.05)
    finally:
        faults.ask(aws.url, "DELETE")
    return False


def converges(aws: Aws, steps: Steps, wanted: dict[str, int]) -> list[str]:
    """Run the steps to their end and check them; what is wrong then, a line for each."""
    for playbook, arguments in steps:
        run = aws.play(playbook, *arguments)
        if run.status != 0:
            return [f"{playbook} failed: {run.output[-3000:]}"]
    there = counts(aws)
    lines = [f"{there[kind]} of kind {kind}, not {wanted[kind]}" for kind in wanted if there[kind] != wanted[kind]]
    for playbook, arguments in steps:
        run = aws.play(playbook, "--check", *arguments)
        if (run.status, run.changed) != (0, 0):
            lines.append(f"a check of {playbook} finds {run.changed} changes: {run.output[-3000:]}")
    return lines


def throttled(aws: Aws, steps: Steps, share: float, seed: int, runs: int) -> tuple[int, int]:
    """Run the steps while a share of calls is throttled, again where one fails; calls, and how many of them failed.

    Raises RuntimeError when a step needs more than ``runs``.
    """
    faults.ask(aws.url, "PUT", share=share, kinds=["throttling"], seed=seed, spares=SPARES)
    try:
        for playbook, arguments in steps:
            for _ in range(runs):
                run = aws.play(playbook, *arguments)
                if run.status == 0:
                    break
            else:
                raise RuntimeError(f"{playbook} failed {runs} times: {run.output[-3000:]}")
        told = faults.ask(aws.url, "GET")
    finally:
        faults.ask(aws.url, "DELETE")
    return told["calls"], told["failed"]


def destroy(aws: Aws, before: dict[str, int]) -> list[str]:
    run = aws.play(DESTROY, *CONFIRM)
    if run.status != 0:
        return [f"{DESTROY} failed: {run.output[-3000:]}"]
    there = counts(aws)
    return [f"{there[kind]} of kind {kind} are left" for kind in before if there[kind] != before[kind]]


def trial(aws: Aws, options: argparse.Namespace) -> list[str]:
    """The whole drill; what went wrong."""
    before = counts(aws)
    faults.ask(aws.url, "PUT", spares=SPARES)
    for playbook, arguments in STEPS:
        run = aws.play(playbook, *arguments)
        if run.status != 0:
            return [run.output]
    changes, wanted = faults.ask(aws.url, "GET")["changes"], counts(aws)
    faults.ask(aws.url, "DELETE")
    wrong = destroy(aws, before)
    chance = random.Random(options.seed)
    if options.throttled:
        try:
            calls, failed = throttled(aws, STEPS, options.throttled, options.seed, 3)
            print(f"{failed} of {calls} calls were throttled", flush=True)
        except RuntimeError as error:
            # The kills are to be tried all the same.
            wrong.append(str(error))
        wrong += converges(aws, STEPS, wanted) + destroy(aws, before)
        print(f"throttled: {wrong or 'well'}", flush=True)
    for number in range(1, options.kills + 1):
        change = chance.randint(1, changes)
        was = interrupted(aws, STEPS, change)
        found = converges(aws, STEPS, wanted) + destroy(aws, before)
        how = "killed" if was else "not killed"
        print(f"{number}: {how} at change {change} of {changes}: {found or 'well'}", flush=True)
        wrong += [f"killed at change {change}: {line}" for line in found]
    return wrong


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=0, help="how often a playbook is killed")
    parser.add_argument("--throttled", type=float, default=0.0, help="share of calls that are throttled")
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(10_000))
    options = parser.parse_args()
    print(f"seed {options.seed}", flush=True)
    api = subprocess.Popen(
        [sys.executable, "-m", "lab.aws", "--port", "0"], cwd=ROOT, stdout=subprocess.PIPE, text=True
    )
    try:
        assert api.stdout is not None
        with interpreter() as python, playbook_program() as ansible_playbook:
            wrong = trial(Aws(api.stdout.readline().strip(), python, ansible_playbook), options)
    finally:
        api.terminate()
        api.wait()
    print("\n".join(wrong) or "All came to their end, and nothing was left.")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
