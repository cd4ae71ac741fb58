"""The lease of an environment: who may take it from whom, and what the keeper does until the run's end."""

from __future__ import annotations

import importlib.util
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import boto3
import pytest
from moto import mock_aws

from tests.awx.jobs import CONTAINER, needs_containers

ROOT = Path(__file__).resolve().parents[3]
TABLE = "parkmesh-test-lease"
ME, ANOTHER = "here:1:1", "elsewhere:2:2"


@pytest.fixture(scope="module")
def leases() -> ModuleType:
    spec = importlib.util.spec_from_file_location("environment_lease", ROOT / "module_utils" / "environment_lease.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def client() -> Iterator[Any]:
    with mock_aws():
        yield boto3.client("dynamodb", region_name="eu-west-1", aws_access_key_id="test", aws_secret_access_key="test")


def take(leases: ModuleType, client: Any, run: str, *, at: float = 0, over: bool = False) -> Any:
    return leases.take(client, TABLE, run, f"who of {run}", "a playbook", over=over, clock=lambda: at)


def test_one_run_holds_it_until_it_gives_it_back(leases: ModuleType, client: Any) -> None:
    assert leases.read(client, TABLE) is None
    assert take(leases, client, ME) == (True, None)
    assert take(leases, client, ME) == (False, None), "the next playbook of the same run"
    with pytest.raises(leases.HeldError, match="who of here:1:1 runs a playbook since 1970-01-01 00:00:00 UTC"):
        take(leases, client, ANOTHER)
    assert not leases.release(client, TABLE, ANOTHER)
    assert leases.release(client, TABLE, ME)
    assert take(leases, client, ANOTHER) == (True, None)


def test_it_expires_unless_it_is_renewed(leases: ModuleType, client: Any) -> None:
    take(leases, client, ME)
    leases.renew(client, TABLE, ME, clock=lambda: 500)
    with pytest.raises(leases.HeldError):
        take(leases, client, ANOTHER, at=leases.LASTS_S + 1)
    taken, before = take(leases, client, ANOTHER, at=500 + leases.LASTS_S + 1)
    assert (taken, before["run"]) == (True, ME)
    assert not leases.renew(client, TABLE, ME)
    assert leases.read(client, TABLE)["run"] == ANOTHER


def test_a_flag_takes_it_over_at_once(leases: ModuleType, client: Any) -> None:
    take(leases, client, ME)
    taken, before = take(leases, client, ANOTHER, over=True)
    assert (taken, before["run"]) == (True, ME)


def test_of_two_that_take_over_one_is_refused(leases: ModuleType, client: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    take(leases, client, ME)
    seen = leases.read(client, TABLE)
    take(leases, client, "third:3:3", over=True)
    looks = iter([seen])
    read = leases.read
    monkeypatch.setattr(leases, "read", lambda *given: next(looks, None) or read(*given))
    with pytest.raises(leases.HeldError, match="third"):
        take(leases, client, ANOTHER, over=True)


def test_a_run_of_this_host_that_is_gone_holds_nothing(leases: ModuleType, client: Any) -> None:
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    run = leases.run_of("here", child.pid)
    take(leases, client, run)
    with pytest.raises(leases.HeldError):
        take(leases, client, leases.run_of("here", os.getpid()))
    assert leases.lives(run)
    child.communicate()
    assert not leases.lives(run)
    assert leases.is_dead(run, "here")
    assert not leases.is_dead(run, "elsewhere")
    assert take(leases, client, leases.run_of("here", os.getpid()))[0]


def test_a_container_has_a_name_of_its_own_also_where_it_has_the_host_s(leases: ModuleType) -> None:
    needs_containers()
    program = f"import sys; sys.path.insert(0, {str(ROOT / 'module_utils')!r})\n"
    program += "import os, environment_lease as leases; print(leases.this_host(), leases.lives(sys.argv[1]))"
    mine = leases.run_of(leases.this_host(), os.getpid())
    inside = [sys.executable, "-c", program, mine]
    container = [*CONTAINER, *inside]
    (here, seen), (there, unseen) = (
        subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()
        for command in (inside, container)
    )
    assert (here, seen, unseen) == (leases.this_host(), "True", "False")
    # This process lives, though a container doesn't see it.
    assert there != here
    assert not leases.is_dead(mine, there)


@pytest.mark.parametrize(
    ("variables", "said"),
    [
        ({"awx_job_id": 42, "awx_user_name": "ana"}, "ana (job 42 of AWX)"),
        ({"awx_job_id": 42, "awx_schedule_name": "nightly"}, "nightly (job 42 of AWX)"),
        ({"awx_job_id": 42}, "job 42 of AWX"),
        ({}, f"luz on {socket.gethostname()}"),
    ],
)
def test_other_people_are_told_who_runs_it(
    leases: ModuleType, variables: dict[str, Any], said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LOGNAME", "luz")
    assert leases.holder_of(variables) == said


def test_a_user_without_a_name_has_a_number(leases: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("LOGNAME", "USER", "LNAME", "USERNAME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(os, "getuid", lambda: 1000660000)
    assert leases.holder_of({}) == f"user 1000660000 on {socket.gethostname()}"


def test_the_keeper_renews_while_the_run_lives_and_gives_back_after(leases: ModuleType, client: Any) -> None:
    take(leases, client, ME)
    first = leases.read(client, TABLE)
    now = [0.0]

    def sleep(_: float) -> None:
        now[0] += 40

    lives = iter([True, True, True, False])
    seen = []

    def alive() -> bool:
        seen.append(leases.read(client, TABLE)["renewed_at"])
        return next(lives)

    leases.keep(client, TABLE, ME, goes_on=alive, clock=lambda: now[0], sleep=sleep)
    assert seen[1] == first["renewed_at"]
    assert seen[-1] > first["renewed_at"]
    assert leases.read(client, TABLE) is None


def test_the_keeper_leaves_a_lease_that_was_taken_over(leases: ModuleType, client: Any) -> None:
    take(leases, client, ME)
    take(leases, client, ANOTHER, over=True)
    leases.keep(client, TABLE, ME, goes_on=lambda: False, clock=lambda: 0, sleep=lambda _: None)
    assert leases.read(client, TABLE)["run"] == ANOTHER
