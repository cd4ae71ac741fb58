"""Measure what AWS's part of `site.yml` costs, on lab.aws: the first run, a run that has nothing to do, and a check.

The playbooks of network, data, image and service run one after the other as a person runs them, with the test
inventory; a stand-in of bake-image.yml makes the image, since the emulator has no hosts. Calls are those that the
playbooks sign; the processor's time is that of ansible-playbook and all that it begins, without the emulator's.

Usage: python bench/aws.py
"""

import resource
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from _deployment import report  # noqa: E402

from lab.aws import faults  # noqa: E402
from tests.emulator.conftest import CREDENTIALS, Aws, Run  # noqa: E402
from tests.emulator.test_playbooks import STEP_NAMES, STEPS  # noqa: E402


def cpu_s() -> float:
    """Seconds of the processor that programs have taken which this one began, and which have ended."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def well(run: Run, what: str, changes: bool) -> None:
    if run.status != 0 or (run.changed and not changes):
        raise SystemExit(f"{what}: exit code {run.status}, {run.changed} changes\n{run.output[-3000:]}")


def measure(aws: Aws, name: str, *arguments: str, limits: Sequence[float] | None = None, changes: bool = False) -> None:
    """Run all the playbooks and print what they cost together, with what was promised of calls and processor."""
    faults.ask(aws.url, "PUT", spares=CREDENTIALS["AWS_ACCESS_KEY_ID"])
    began, cpu = time.monotonic(), cpu_s()
    for step, (playbook, given) in zip(STEP_NAMES, STEPS, strict=True):
        before = time.monotonic()
        well(aws.play(playbook, *given, *arguments), f"{name}, {step}", changes)
        print(f"  {step:<12} {time.monotonic() - before:6.1f} s", flush=True)
    calls = faults.ask(aws.url, "GET")["calls"]
    faults.ask(aws.url, "DELETE")
    most_calls, most_cpu = limits or (None, None)
    report(f"{name}: calls", calls, "", most_calls)
    report(f"{name}: processor", cpu_s() - cpu, "s", most_cpu)
    report(f"{name}: time", time.monotonic() - began, "s")


def main() -> None:
    api = subprocess.Popen(
        [sys.executable, "-m", "lab.aws", "--port", "0"], cwd=ROOT, stdout=subprocess.PIPE, text=True
    )
    try:
        assert api.stdout is not None
        program = str(Path(sys.executable).with_name("ansible-playbook"))
        aws = Aws(api.stdout.readline().strip(), sys.executable, program)
        measure(aws, "first run", changes=True)
        measure(aws, "nothing to do", limits=(250, 60))
        measure(aws, "a check of it", "--check")
    finally:
        api.terminate()
        api.wait()


if __name__ == "__main__":
    main()
