"""TLS to the database: a certificate that the given CA did not sign, or signed for another host, is refused.

PostgreSQL of the wheel has no TLS: a proxy in front of its socket speaks it, as PostgreSQL's protocol begins it.
"""

import asyncio
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from urllib.parse import unquote

import certificates
import pytest
from parkmesh.server import settings
from parkmesh.server.db import database
from running_server import APP_PASSWORD, Database

Certificates = Callable[[str], tuple[Path, Path]]
SSL_REQUEST = bytes.fromhex("0000000804d2162f")


@pytest.fixture
def issue(tmp_path: Path) -> Certificates:
    """Return a function that makes a CA and a server's certificate for a host; gives the CA's and the server's file."""

    return lambda host: certificates.issue(tmp_path, host)


@asynccontextmanager
async def tls_in_front_of(socket_path: str, server_file: Path) -> AsyncIterator[int]:
    """Serve TLS on a free port of 127.0.0.1 and hand what comes on to a database's socket."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(server_file)
    tasks: set[asyncio.Task[None]] = set()

    async def pump(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        try:
            while data := await source.read(65536):
                sink.write(data)
                await sink.drain()
        except OSError:
            pass
        finally:
            sink.close()

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if await reader.readexactly(8) != SSL_REQUEST:
            writer.close()
            return
        writer.write(b"S")
        await writer.drain()
        try:
            await writer.start_tls(context)
        except OSError:
            writer.close()
            return
        back, forth = await asyncio.open_unix_connection(socket_path)
        for pair in ((reader, forth), (back, writer)):
            tasks.add(asyncio.create_task(pump(*pair)))

    server = await asyncio.start_server(accept, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


@pytest.fixture
def socket_path(database_host: str) -> str:
    return unquote(database_host) + "/.s.PGSQL.5432"


def address(db: Database, port: int, ca: Path) -> str:
    url = f"postgresql://parkmesh_app:{APP_PASSWORD}@localhost:{port}/{db.name}?application_name=tls"
    return settings.database_url({"PARKMESH_DATABASE_URL": url, "PARKMESH_DATABASE_CA": str(ca)})


async def test_the_database_whose_certificate_our_ca_signed_is_connected_to(
    db: Database, socket_path: str, issue: Certificates
) -> None:
    ca, server = issue("localhost")
    async with tls_in_front_of(socket_path, server) as port:
        connection = await database.connect(address(db, port, ca), "test", 5)
        assert await connection.fetchval("SELECT current_user") == "parkmesh_app"
        await connection.close()


@pytest.mark.parametrize("host", ["localhost", "elsewhere.example"])
async def test_a_certificate_of_another_ca_or_for_another_host_is_refused(
    db: Database, socket_path: str, issue: Certificates, host: str
) -> None:
    ours, server = issue(host)
    ca = issue(host)[0] if host == "localhost" else ours
    async with tls_in_front_of(socket_path, server) as port:
        with pytest.raises(database.DatabaseUnavailable, match="certificate isn't trusted"):
            # At once: what is not trusted now won't be in a minute either.
            await asyncio.wait_for(database.connect(address(db, port, ca), "test", 60), 20)


async def test_a_database_without_tls_is_refused(db: Database, issue: Certificates) -> None:
    ca, _ = issue("localhost")

    async def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readexactly(8)
        writer.write(b"N")
        writer.close()

    server = await asyncio.start_server(refuse, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        with pytest.raises(database.DatabaseUnavailable, match="SSL"):
            await database.connect(address(db, port, ca), "test", 0)


def test_the_setting_and_the_address_must_agree(issue: Certificates, tmp_path: Path) -> None:
    ca, _ = issue("localhost")
    url = "postgresql://u:hunter2-secret@h/d"
    nonsense = tmp_path / "nonsense.pem"
    nonsense.write_text("nothing")
    for environment, says in (
        ({"PARKMESH_DATABASE_URL": f"{url}?sslmode=disable", "PARKMESH_DATABASE_CA": str(ca)}, "another TLS mode"),
        ({"PARKMESH_DATABASE_URL": url, "PARKMESH_DATABASE_CA": "/none.pem"}, "/none.pem: No such file"),
        ({"PARKMESH_DATABASE_URL": url, "PARKMESH_DATABASE_CA": str(nonsense)}, "not certificates in PEM"),
        ({"PARKMESH_DATABASE_URL": f"{url}?sslmode=verify-full&sslrootcert=/none.pem"}, "sslrootcert: /none.pem"),
    ):
        with pytest.raises(settings.SettingError, match=says) as caught:
            settings.database_url(environment)
        assert "hunter2-secret" not in str(caught.value)
