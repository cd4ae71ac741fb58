"""What only the database's owner may do: migrations of a roll, and the daily retention.

It runs on an instance of its own, from the servers' image: no server may read the owner's password. The instance's tag
``Task`` says what to do, its launch template's user data where the result is written: a parameter of Systems Manager,
which the playbook that started the instance reads.
"""

import os
import subprocess
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any, Final, Literal

import msgspec
from botocore.exceptions import ClientError
from msgspec import Struct

from parkmesh.instance.imds import Imds
from parkmesh.instance.prepare import PrepareError, client_of, owner_environment, secret
from parkmesh.instance.userdata import Maintenance, UserData, UserDataError, parse_login

MIGRATE: Final = "migrate"
RETENTION: Final = "retention"
TASK_TAG = "meta-data/tags/instance/Task"
COMMANDS: Final[Mapping[str, tuple[str, ...]]] = {MIGRATE: ("migrate",), RETENTION: ("retention", "run")}
PROGRAM = "/usr/local/bin/parkmesh"
SECRETS_TRIES, SECRETS_PAUSE_S = 6, 10.0
"""A policy that was made just now takes some seconds until all of AWS knows it."""
LONGEST_S = 6600
"""Before the window of the daily retention ends (role aws_service)."""
MESSAGE_CHARACTERS = 2500
"""A retention's report has a count for each kind of record; a parameter holds 4,096 characters (Systems Manager API
reference, PutParameter, Value)."""
IMAGES_KEPT = 20

Command = Callable[[tuple[str, ...], Mapping[str, str]], tuple[int, str, str]]
"""Runs ``parkmesh`` with arguments and more environment; returns exit code, standard output and error."""


class Result(Struct, frozen=True):
    """What came of a task, as it is in the parameter.

    ``images`` are those by which ``database`` (its host) was migrated, the latest last. ``message`` is one line.
    """

    task: str
    state: Literal["succeeded", "failed"]
    message: str
    instance: str
    image: str
    database: str
    began: str
    ended: str
    images: list[str] = msgspec.field(default_factory=list)


def command(arguments: tuple[str, ...], environment: Mapping[str, str]) -> tuple[int, str, str]:
    """Run ``parkmesh`` with ``arguments``; a password is in its environment only, which root alone may read."""
    try:
        done = subprocess.run(
            [PROGRAM, *arguments],
            env={**os.environ, **environment},
            capture_output=True,
            text=True,
            timeout=LONGEST_S,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return 1, "", f"it took more than {LONGEST_S} s"
    return done.returncode, done.stdout, done.stderr


def run(
    session: Any,
    imds: Imds,
    data: UserData,
    maintenance: Maintenance,
    *,
    command: Command = command,
    sleep: Callable[[float], None] = time.sleep,
) -> Result:
    """Do the instance's task and write the result; returns it.

    Raises ImdsError before anything was done, and what boto3 raises where the result can't be written.
    """
    task = imds.get(TASK_TAG).strip()
    me, image, began = imds.instance_id(), imds.get("meta-data/ami-id").strip(), _now()
    parameters = client_of(session, data, "ssm")
    name = maintenance.retention_parameter if task == RETENTION else maintenance.migration_parameter
    migrated = _migrated(parameters, maintenance.migration_parameter, data.database.host)
    try:
        done, message = _do(task, command, _environment(session, data, sleep))
    except (PrepareError, UserDataError) as error:
        done, message = False, str(error)
    if done and task == MIGRATE:
        migrated = [*(each for each in migrated if each != image), image][-IMAGES_KEPT:]
    result = Result(
        task=task,
        state="succeeded" if done else "failed",
        message=message,
        instance=me,
        image=image,
        database=data.database.host,
        began=began,
        ended=_now(),
        images=migrated if task == MIGRATE else [],
    )
    parameters.put_parameter(Name=name, Value=msgspec.json.encode(result).decode(), Type="String", Overwrite=True)
    return result


def _environment(session: Any, data: UserData, sleep: Callable[[float], None]) -> dict[str, str]:
    """The owner's environment. Raises PrepareError or UserDataError."""
    secrets = client_of(session, data, "secretsmanager")
    for tried in range(SECRETS_TRIES):
        try:
            app = parse_login(data.database.app_secret_id, secret(secrets, data.database.app_secret_id))
            return owner_environment(secrets, data.database, app)
        except PrepareError:
            if tried == SECRETS_TRIES - 1:
                raise
        sleep(SECRETS_PAUSE_S)
    raise AssertionError("unreachable")


def _do(task: str, command: Command, environment: Mapping[str, str]) -> tuple[bool, str]:
    """Do a task; returns whether it succeeded, and what it said in a line."""
    if task not in COMMANDS:
        return False, f"the instance's tag Task is {task!r}: there is no such task"
    code, output, errors = command(COMMANDS[task], environment)
    said = (errors if code else output).strip().splitlines()
    line = (said[-1] if said else f"it ended with code {code} and said nothing").removeprefix("Error: ")
    for hidden in environment.values():
        line = line.replace(hidden, "…")
    return code == 0, line[:MESSAGE_CHARACTERS]


def _migrated(parameters: Any, name: str, database: str) -> list[str]:
    """The images by which this database was migrated, as the last result says."""
    try:
        text = parameters.get_parameter(Name=name)["Parameter"]["Value"]
        before = msgspec.json.decode(text, type=Result)
    except (ClientError, msgspec.DecodeError):
        return []
    return before.images if before.database == database else []


def _now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
