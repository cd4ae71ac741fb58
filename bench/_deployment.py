"""What the application's benches share: PostgreSQL from the wheel with its data on disk, a server process in front of
it, what both cost, and a client of bare asyncio so light that the machine is left to them.
"""

import asyncio
import contextlib
import hashlib
import json
import os
import resource
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "app/src"))

from parkmesh.server.commands import embedded  # noqa: E402
from parkmesh.server.db import database, schema  # noqa: E402

TICKS = os.sysconf("SC_CLK_TCK")
WAL_FILES = 48
PASSWORD = "bench-" + secrets.token_hex(8)


@dataclass(frozen=True)
class Database:
    """A running PostgreSQL with an empty, migrated database, whose data are in ``folder``."""

    addresses: embedded.Addresses
    postmaster: int
    folder: Path

    def cpu_s(self) -> float:
        """Return the CPU seconds of all its processes so far."""
        return sum(cpu_s(pid) for pid in [self.postmaster, *_children(self.postmaster)])


@dataclass(frozen=True)
class Server:
    """A server process. ``ready_s``: from its start to its readiness."""

    pid: int
    web: tuple[str, int]
    edge: tuple[str, int]
    ready_s: float

    def rss_mb(self) -> float:
        for line in Path(f"/proc/{self.pid}/status").read_text().splitlines():
            if line.startswith("VmRSS:"):
                return int(line.split()[1]) / 1024
        raise RuntimeError("the server has no memory: did it end?")

    def cpu_s(self) -> float:
        return cpu_s(self.pid)


def cpu_s(pid: int) -> float:
    """Return a process's CPU seconds so far, 0 for one that ended."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return 0.0
    return (int(fields[11]) + int(fields[12])) / TICKS


def _children(pid: int) -> list[int]:
    found = []
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            with contextlib.suppress(OSError):
                if int((folder / "stat").read_text().rpartition(")")[2].split()[1]) == pid:
                    found.append(int(folder.name))
    return found


@contextmanager
def postgres() -> Iterator[Database]:
    """Run PostgreSQL with its defaults (synchronous commit on, fsync on) on a new database, like one in service."""
    # A bench that is ended early ends its PostgreSQL too.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    folder = Path(tempfile.mkdtemp(prefix="parkmesh-bench-"))
    folder.chmod(0o755)
    try:
        with embedded.postgres(folder) as addresses:
            asyncio.run(_make(addresses))
            postmaster = int((folder / "postgres/postmaster.pid").read_text().splitlines()[0])
            yield Database(addresses, postmaster, folder)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def flushes(base: Database) -> Iterator[list[float]]:
    """Write 8 kB beside the data and flush them, ten times a second; the list grows by the seconds that each took.

    An acknowledgement waits for such a flush: what the disk takes for its own part stands beside it.
    """
    took: list[float] = []
    ended = threading.Event()

    def probe() -> None:
        with (base.folder / "probe").open("wb", buffering=0) as file:
            file.write(bytes(8192))
            os.fsync(file.fileno())
            while not ended.wait(0.1):
                file.seek(0)
                file.write(os.urandom(8192))
                began = time.perf_counter()
                os.fdatasync(file.fileno())
                took.append(time.perf_counter() - began)

    thread = threading.Thread(target=probe, daemon=True)
    thread.start()
    try:
        yield took
    finally:
        ended.set()
        thread.join()


async def _make(addresses: embedded.Addresses) -> None:
    superuser = await database.connect(
        addresses.owner.replace(f"//{embedded.OWNER}@/{embedded.DATABASE}", "//postgres@/postgres"), "bench", 30
    )
    await superuser.execute(f"CREATE ROLE {embedded.OWNER} LOGIN CREATEROLE")
    await superuser.execute(f"CREATE DATABASE {embedded.DATABASE} OWNER {embedded.OWNER}")
    await superuser.close()
    await schema.migrate(addresses.owner, PASSWORD, 5)
    await _in_service(addresses)


async def _in_service(addresses: embedded.Addresses) -> None:
    """Have the write-ahead log's files there, as in a database that has run for a while: it writes over old ones, where
    a new database makes each file anew and flushes all of it in the middle of the work."""
    superuser = await database.connect(addresses.owner.replace(f"//{embedded.OWNER}@", "//postgres@"), "bench", 30)
    await superuser.execute(f"ALTER SYSTEM SET min_wal_size = '{16 * WAL_FILES}MB'")
    await superuser.execute("SELECT pg_reload_conf()")
    for _ in range(WAL_FILES):
        await superuser.execute("SELECT pg_logical_emit_message(false, 'bench', '')")
        await superuser.execute("SELECT pg_switch_wal()")
    await superuser.execute("CHECKPOINT")
    await superuser.close()


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port: int = sock.getsockname()[1]
        return port


@contextmanager
def server(base: Database, environment: Mapping[str, str] | None = None) -> Iterator[Server]:
    """Run ``parkmesh serve`` as a process of its own, with more settings in ``environment``, wait until it is ready,
    and end it."""
    allow_many_connections()
    web, edge = ("127.0.0.1", free_port()), ("127.0.0.1", free_port())
    with tempfile.TemporaryFile("w+") as log:
        began = time.monotonic()
        process = subprocess.Popen(
            [sys.executable, "-m", "parkmesh", "serve", "--host", web[0], "--port", str(web[1]),
             "--edge-port", str(edge[1])],
            env={
                "PATH": os.defpath,
                "PYTHONPATH": str(ROOT / "app/src"),
                "PARKMESH_DATABASE_URL": base.addresses.app,
                "PARKMESH_SESSION_SECRET": secrets.token_urlsafe(32),
                "PARKMESH_DRAIN_SECONDS": "0",
                "PARKMESH_SERVER_ID": "bench",
                **(environment or {}),
            },
            stdout=log,
            stderr=subprocess.STDOUT,
        )  # fmt: skip
        try:
            while not _ready(web):
                if process.poll() is not None or time.monotonic() - began > 60:
                    log.seek(0)
                    raise SystemExit(f"the server did not become ready:\n{log.read()[-2000:]}")
                time.sleep(0.01)
            yield Server(process.pid, web, edge, time.monotonic() - began)
        finally:
            process.terminate()
            try:
                process.wait(40)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _ready(address: tuple[str, int]) -> bool:
    try:
        with socket.create_connection(address, 1) as sock:
            sock.sendall(b"GET /readyz HTTP/1.1\r\nHost: bench\r\nConnection: close\r\n\r\n")
            return sock.recv(64).startswith(b"HTTP/1.1 200")
    except OSError:
        return False


def allow_many_connections() -> None:
    """Let this process and those that it starts open as many files as the machine allows."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


async def sign_in(base: Database, email: str = "desk@bench.example") -> str:
    """Make an operator and a session; return the session's token."""
    token = secrets.token_urlsafe(32)
    connection = await database.connect(base.addresses.app, "bench", 5)
    try:
        async with connection.transaction():
            await database.set_scope(connection, "identity")
            user = await connection.fetchval(
                """
                INSERT INTO app_user (email, name, operator) VALUES ($1, 'Bench', true)
                ON CONFLICT (email) DO UPDATE SET operator = true RETURNING id
                """,
                email,
            )
            await connection.execute(
                "INSERT INTO web_session (token_sha256, user_id, expires_at) VALUES ($1, $2, now() + interval '1 day')",
                hashlib.sha256(token.encode()).digest(),
                user,
            )
    finally:
        await connection.close()
    return token


class Http:
    """One keep-alive connection that sends one request at a time."""

    def __init__(self, address: tuple[str, int], **headers: str) -> None:
        self._address = address
        self._headers = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in headers.items())

    async def __aenter__(self) -> Self:
        self._reader, self._writer = await asyncio.open_connection(*self._address, limit=2**24)
        return self

    async def __aexit__(self, *_: object) -> None:
        self._writer.close()

    async def request(self, method: str, path: str, body: bytes = b"") -> tuple[int, bytes]:
        """Return the answer's status and body."""
        head = f"{method} {path} HTTP/1.1\r\nHost: bench\r\n{self._headers}Content-Length: {len(body)}\r\n\r\n"
        self._writer.write(head.encode() + body)
        answer = (await self._reader.readuntil(b"\r\n\r\n")).lower()
        status = int(answer[9:12])
        if b"transfer-encoding: chunked" in answer:
            parts = []
            while size := int((await self._reader.readline()).split(b";")[0], 16):
                parts.append((await self._reader.readexactly(size + 2))[:-2])
            await self._reader.readline()
            return status, b"".join(parts)
        length = answer.partition(b"content-length:")[2].split(b"\r\n")[0]
        return status, await self._reader.readexactly(int(length or 0))


class Page(asyncio.Protocol):
    """One open live page: counts the updates that it gets."""

    def __init__(self, path: str, token: str) -> None:
        self._request = (
            f"GET {path} HTTP/1.1\r\nHost: bench\r\nAccept: text/event-stream\r\n"
            f"Cookie: parkmesh-session={token}\r\n\r\n"
        ).encode()
        self.updates = 0
        self.status = 0
        self.opened = asyncio.Event()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        transport.write(self._request)  # type: ignore[attr-defined]

    def data_received(self, data: bytes) -> None:
        if not self.status:
            self.status = int(data[9:12])
            self.opened.set()
        self.updates += data.count(b"event: update")

    def connection_lost(self, exc: Exception | None) -> None:
        self.status = -1
        self.opened.set()


async def open_pages(address: tuple[str, int], paths: Sequence[str], token: str) -> list[Page]:
    """Open a live page for each path, and wait until all are open."""
    loop = asyncio.get_running_loop()
    few = asyncio.Semaphore(16)

    async def one(path: str) -> Page:
        async with few:
            _, page = await loop.create_connection(lambda: Page(path, token), *address)
            await page.opened.wait()
            if page.status != 200:
                raise SystemExit(f"{path} answered {page.status}")
            return page

    return await asyncio.gather(*(one(path) for path in paths))


def quantile(values: Sequence[float], part: float) -> float:
    """Return the smallest value that ``part`` of all are not above."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * part))]


def report(name: str, figure: float, unit: str, limit: float | None = None, *, at_least: bool = False) -> None:
    """Print one figure, with what it should be where there is a promise."""
    text = f"{name:<62} {figure:>10.2f} {unit}"
    if limit is not None:
        met = figure >= limit if at_least else figure <= limit
        text += f"  (promised {'>=' if at_least else '<='} {limit:g}: {'met' if met else 'MISSED'})"
    print(text, flush=True)


def as_json(value: Any) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()
