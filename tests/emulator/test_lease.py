"""The lease of an environment on lab.aws: one run at a time, however a run ends."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from .conftest import CREDENTIALS, INVENTORY, ROOT, Aws, Run, key_of

TABLE = "parkmesh-test-lease"
HOLD = "tests/emulator/playbooks/hold.yml"
WITH_LEASE = ("-e", f"environment_lease_table={TABLE}")


def lease(aws: Aws) -> dict[str, Any] | None:
    items = aws.client("dynamodb").scan(TableName=TABLE)["Items"]
    return items[0] if items else None


def until(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.1)


def said(run: Run) -> str:
    return " ".join(run.output.split())


def test_credentials_that_have_expired_are_said_in_one_line(aws: Aws) -> None:
    with aws.faults(share=1, kinds=["expired"]):
        run = aws.play(HOLD, *WITH_LEASE, "-e", "end=/nowhere")
    assert run.failed == 1, run.output
    assert "The credentials for AWS have expired: get new ones" in said(run)


def test_a_second_run_is_refused_and_a_run_that_ends_gives_the_lease_back(aws: Aws, tmp_path: Path) -> None:
    end = tmp_path / "end"
    arguments = [HOLD, *WITH_LEASE, "-e", f"end={end}"]
    first = subprocess.Popen(
        [Path(sys.executable).with_name("ansible-playbook"), "-i", INVENTORY, *arguments],
        cwd=ROOT,
        env={
            **os.environ,
            **CREDENTIALS,
            "AWS_ACCESS_KEY_ID": key_of(HOLD),
            "PARKMESH_TEST_AWS_ENDPOINT_URL": aws.url,
        },
        stdout=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:

        def is_held() -> bool:
            with contextlib.suppress(aws.client("dynamodb").exceptions.ResourceNotFoundException):
                return lease(aws) is not None
            return False

        until(is_held)
        second = aws.play(HOLD, *WITH_LEASE, "-e", f"end={end}")
        assert second.status != 0
        assert "runs Hold since 20" in said(second)
        assert "-e take_over_lease=true" in said(second)
        # Killed without a word, as when somebody closes a terminal: the keeper sees it.
        os.killpg(first.pid, signal.SIGKILL)
        first.wait()
        until(lambda: lease(aws) is None)
    finally:
        if first.poll() is None:
            os.killpg(first.pid, signal.SIGKILL)


def test_a_dead_run_is_taken_over_with_a_flag_and_a_failed_run_gives_the_lease_back(aws: Aws) -> None:
    dynamodb, now = aws.client("dynamodb"), int(time.time())
    elsewhere = {
        "name": {"S": "run"},
        "run": {"S": "another:1:1"},
        "holder": {"S": "ana on another"},
        "what": {"S": "Provision the network"},
        **{key: {"N": str(now)} for key in ("since", "renewed_at")},
        "expires_at": {"N": str(now + 600)},
    }
    dynamodb.put_item(TableName=TABLE, Item=elsewhere)
    run = aws.play(HOLD, *WITH_LEASE, "-e", "end=", "-e", "take_over_lease=true")
    assert "Taken over: ana on another runs Provision the network since" in said(run)
    assert "it failed as asked" in said(run)
    # At once, before the process ends: a job of AWX ends with all its container, and the keeper with it.
    assert lease(aws) is None
