"""The lease of an environment: who may change it now. One item of a DynamoDB table, changed on conditions only.

A run takes it, and a keeper beside the run renews it while the run's process lives. It gives it back when the run
dismisses it at its end, or when the run's process is gone, however that ended: `python environment_lease.py` with the
terms on its standard input is the keeper. A control node that died renews nothing, and its lease expires.

Conditional writes are serialised by DynamoDB (Amazon DynamoDB Developer Guide, "Condition expressions"). Expiry
compares the clocks of control nodes, so these must be right to some seconds.
"""

from __future__ import annotations

import contextlib
import getpass
import json
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

Lease = dict[str, Any]
"""run (identifies the process that holds it), holder, what (the playbook), since, renewed_at and expires_at (s)."""

KEY: Final = {"name": {"S": "run"}}
LASTS_S: Final = 600
"""For how long a lease is good without being renewed."""
RENEW_AFTER_S: Final = 60
LOOK_AFTER_S: Final = 0.5
DISMISSED_WITHIN_S: Final = 15
"""How long a run waits at its end until its keeper has given the lease back."""
_NUMBERS: Final = ("since", "renewed_at", "expires_at")


class HeldError(Exception):
    """Somebody else holds the lease, which is the argument."""

    def __init__(self, lease: Lease) -> None:
        super().__init__(told(lease))
        self.lease = lease


def this_host() -> str:
    """The name of what numbers this process, which no other has: its host, the kernel's boot, and the PID namespace.

    Containers of one host may share its name, with its network; each sees its own processes only. Raises OSError.
    """
    boot = Path("/proc/sys/kernel/random/boot_id").read_text().partition("-")[0]
    namespace = Path("/proc/self/ns/pid").readlink().name.strip("pid:[]")
    return f"{socket.gethostname()}/{boot}/{namespace}"


def holder_of(variables: Mapping[str, Any]) -> str:
    """Who runs this, for other people: whoever launched the job of AWX, or the user of this host.

    AWX gives each job these variables (awx/main/models/unified_jobs.py, awx_meta_vars); no user to one of a schedule.
    """
    if job := variables.get("awx_job_id"):
        by = variables.get("awx_user_name") or variables.get("awx_schedule_name")
        return f"{by} (job {job} of AWX)" if by else f"job {job} of AWX"
    try:
        user = getpass.getuser()
    except (KeyError, OSError):
        # A container may run as a user of whom it has no name.
        user = f"user {os.getuid()}"
    return f"{user} on {socket.gethostname()}"


def run_of(host: str, pid: int) -> str:
    """The name of a process that no other has: host, number, and when it started (proc(5), field 22 of stat)."""
    return f"{host}:{pid}:{_started(pid)}"


def _started(pid: int) -> str:
    try:
        # What comes before the last bracket is the command's name, which may have blanks.
        state, *fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return "" if state == "Z" else fields[18]
    except (OSError, IndexError, ValueError):
        return ""


def lives(run: str) -> bool:
    """Whether the process of a run, or a keeper, of this host is there."""
    host, pid, started = (*run.split(":"), "", "")[:3]
    return started != "" and pid.isdigit() and run_of(host, int(pid)) == run


def is_dead(run: str, host: str) -> bool:
    """Whether a run was on this host and its process is gone."""
    return run.partition(":")[0] == host and not lives(run)


def dismiss(keeper: str, *, within_s: float = DISMISSED_WITHIN_S) -> bool:
    """Let a keeper of this host give the lease back now; False when it doesn't in time, and goes on trying."""
    if not lives(keeper):
        return True
    with contextlib.suppress(ProcessLookupError):
        os.kill(int(keeper.split(":")[1]), signal.SIGTERM)
    deadline = time.monotonic() + within_s
    while lives(keeper):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


def told(lease: Mapping[str, Any]) -> str:
    """Who holds a lease, in a sentence."""
    since, renewed = (datetime.fromtimestamp(lease[key], UTC).strftime("%Y-%m-%d %H:%M:%S UTC") for key in _NUMBERS[:2])
    return f"{lease['holder']} runs {lease['what']} since {since}, last heard of at {renewed}"


def read(client: Any, table: str) -> Lease | None:
    """The lease; None when nobody holds it."""
    try:
        item = client.get_item(TableName=table, Key=KEY, ConsistentRead=True).get("Item")
    except client.exceptions.ResourceNotFoundException:
        return None
    if not item:
        return None
    return {key: int(value["N"]) if "N" in value else value["S"] for key, value in item.items() if key != "name"}


def take(
    client: Any,
    table: str,
    run: str,
    holder: str,
    what: str,
    *,
    over: bool = False,
    tags: Mapping[str, str] | None = None,
    clock: Callable[[], float] = time.time,
) -> tuple[bool, Lease | None]:
    """Take the lease, and make its table if need be; returns (whether the run had none before, whose it took over).

    A lease that expired is free, and so is one of a process of this host that is gone. ``over`` takes it from anybody.
    Raises HeldError.
    """
    host = run.partition(":")[0]
    current = read(client, table)
    if current is not None and current["run"] == run:
        return False, None
    now = int(clock())
    if current is not None and not (over or current["expires_at"] < now or is_dead(current["run"], host)):
        raise HeldError(current)
    lease = {"run": run, "holder": holder, "what": what, "since": now, "renewed_at": now, "expires_at": now + LASTS_S}
    item = {key: {"N": str(value)} if key in _NUMBERS else {"S": str(value)} for key, value in lease.items()}
    # Only from whom it was seen with: of two that take over, one is refused.
    condition = (
        {"ConditionExpression": "attribute_not_exists(#run)"}
        if current is None
        else {"ConditionExpression": "#run = :was", "ExpressionAttributeValues": {":was": {"S": current["run"]}}}
    )
    arguments = {"TableName": table, "Item": {**KEY, **item}, "ExpressionAttributeNames": {"#run": "run"}, **condition}
    try:
        try:
            client.put_item(**arguments)
        except client.exceptions.ResourceNotFoundException:
            _make_table(client, table, tags or {})
            client.put_item(**arguments)
    except client.exceptions.ConditionalCheckFailedException:
        quicker = read(client, table)
        raise HeldError(quicker if quicker is not None else {**lease, "holder": "somebody else"}) from None
    return True, current


def _make_table(client: Any, table: str, tags: Mapping[str, str]) -> None:
    # Another run may make it at this moment.
    with contextlib.suppress(client.exceptions.ResourceInUseException):
        client.create_table(
            TableName=table,
            AttributeDefinitions=[{"AttributeName": "name", "AttributeType": "S"}],
            KeySchema=[{"AttributeName": "name", "KeyType": "HASH"}],
            BillingMode="PAY_PER_REQUEST",
            Tags=[{"Key": key, "Value": value} for key, value in tags.items()],
        )
    client.get_waiter("table_exists").wait(TableName=table, WaiterConfig={"Delay": 1, "MaxAttempts": 120})


def renew(client: Any, table: str, run: str, *, clock: Callable[[], float] = time.time) -> bool:
    """Renew the lease; False when the run doesn't hold it any more."""
    now = int(clock())
    try:
        client.update_item(
            TableName=table,
            Key=KEY,
            UpdateExpression="SET renewed_at = :now, expires_at = :end",
            ConditionExpression="#run = :me",
            ExpressionAttributeNames={"#run": "run"},
            ExpressionAttributeValues={":me": {"S": run}, ":now": {"N": str(now)}, ":end": {"N": str(now + LASTS_S)}},
        )
    except (client.exceptions.ConditionalCheckFailedException, client.exceptions.ResourceNotFoundException):
        return False
    return True


def release(client: Any, table: str, run: str) -> bool:
    """Give the lease back; False when the run doesn't hold it."""
    try:
        client.delete_item(
            TableName=table,
            Key=KEY,
            ConditionExpression="#run = :me",
            ExpressionAttributeNames={"#run": "run"},
            ExpressionAttributeValues={":me": {"S": run}},
        )
    except (client.exceptions.ConditionalCheckFailedException, client.exceptions.ResourceNotFoundException):
        return False
    return True


def remove_table(client: Any, table: str) -> bool:
    """Remove the table with the lease; False when there is none."""
    try:
        client.delete_table(TableName=table)
    except client.exceptions.ResourceNotFoundException:
        return False
    return True


def keep(
    client: Any,
    table: str,
    run: str,
    *,
    goes_on: Callable[[], bool],
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], object] = time.sleep,
) -> None:
    """Renew the lease while its run lives, then give it back. Ends early when somebody took it over."""
    renewed = clock()
    while goes_on():
        sleep(LOOK_AFTER_S)
        if clock() - renewed > RENEW_AFTER_S:
            # AWS may answer again before the lease expires.
            with contextlib.suppress(Exception):
                if not renew(client, table, run):
                    return
                renewed = clock()
    release(client, table, run)


def main() -> None:
    dismissed = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: dismissed.set())
    # Whoever starts it blocks the signal, which could come before this.
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})
    import boto3
    from botocore.config import Config

    terms = json.load(sys.stdin)
    connection = {
        "region_name": terms.get("region"),
        "endpoint_url": terms.get("endpoint_url"),
        "aws_access_key_id": terms.get("access_key"),
        "aws_secret_access_key": terms.get("secret_key"),
    }
    # A keeper of a run on a network that is gone must come to its end: the lease expires.
    limits = Config(connect_timeout=5, read_timeout=10, retries={"max_attempts": 3})
    client = boto3.client("dynamodb", config=limits, **{key: value for key, value in connection.items() if value})
    keep(
        client,
        terms["table"],
        terms["run"],
        goes_on=lambda: not dismissed.is_set() and lives(terms["run"]),
        sleep=lambda seconds: bool(dismissed.wait(seconds)),
    )


if __name__ == "__main__":
    os.chdir("/")
    main()
