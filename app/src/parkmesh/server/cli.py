"""The server's commands: ``parkmesh serve``, ``parkmesh migrate`` and ``parkmesh admin``.

The parts that a command needs are imported in it: a server carries no migration tool in its memory.

Exit codes: 0 done, 1 failed, 2 wrong use (an option, a variable, a document). Every failure is one line on stderr.
"""

import asyncio
import json
import os
from typing import BinaryIO, NoReturn

import asyncpg
import click

from parkmesh.protocol.edge import EDGE_PORT, WEB_PORT
from parkmesh.server import database, logs, settings, sockets

WAIT_S = 60.0
EVERYWHERE = "0.0.0.0"  # noqa: S104 - the load balancer comes from outside; the security group admits it alone


class WrongUse(click.ClickException):
    exit_code = 2


def _fail(error: Exception) -> NoReturn:
    raise click.ClickException(str(error)) from None


@click.command()
@click.option("--host", default=EVERYWHERE, envvar="PARKMESH_WEB_HOST", show_default=True, help="Of the web door.")
@click.option("--port", default=WEB_PORT, envvar="PARKMESH_WEB_PORT", show_default=True, type=click.IntRange(0, 65535))
@click.option(
    "--edge-host",
    default="127.0.0.1",
    show_default=True,
    help="Address of the edge door where PARKMESH_EDGE_ADDRESS (the overlay's) is not set.",
)
@click.option(
    "--edge-port", default=EDGE_PORT, envvar="PARKMESH_EDGE_PORT", show_default=True, type=click.IntRange(0, 65535)
)
def serve(host: str, port: int, edge_host: str, edge_port: int) -> None:
    """Run the application server.

    Takes PARKMESH_DATABASE_URL and PARKMESH_SESSION_SECRET (required), PARKMESH_EDGE_ADDRESS, PARKMESH_PUBLIC_URL,
    PARKMESH_SERVER_ID, PARKMESH_DRAIN_SECONDS (5) and PARKMESH_TRUSTED_PROXIES (private networks) from the environment.
    """
    from parkmesh.server import run

    try:
        config = settings.from_environment()
        web_socket = sockets.listen(host, port)
        edge_address = os.environ.get("PARKMESH_EDGE_ADDRESS", "").strip() or edge_host
        edge_socket = sockets.listen(edge_address, edge_port, before_up=True)
    except settings.SettingError as error:
        raise WrongUse(str(error)) from None
    except OSError as error:
        _fail(error)
    logs.configure(config.server_id, config.secrets)
    asyncio.run(run.until_signal(config, web_socket, edge_socket))


@click.command()
@click.option(
    "--wait", default=WAIT_S, show_default=True, help="Seconds to wait for the database to accept connections."
)
def migrate(wait: float) -> None:
    """Bring the database's schema up to this release.

    Takes PARKMESH_DATABASE_URL (the owner's) and PARKMESH_APP_PASSWORD (of the role parkmesh_app, which it makes) from
    the environment, prints what it did as JSON, and changes nothing where there is nothing to do.
    """
    from parkmesh.server import schema

    try:
        url = settings.database_url(os.environ)
        password = settings.required(os.environ, "PARKMESH_APP_PASSWORD", f"the password of the role {schema.APP_ROLE}")
    except settings.SettingError as error:
        raise WrongUse(str(error)) from None
    try:
        done = asyncio.run(schema.migrate(url, password, wait))
    except (database.DatabaseUnavailable, schema.MigrationError) as error:
        _fail(error)
    except asyncpg.PostgresError as error:
        raise click.ClickException(f"the database refused: {logs.describe(error)}: {error.message}") from None
    click.echo(
        json.dumps({"changed": done.changed, "before": done.before, "after": done.after, "schema_newer": done.newer})
    )


@click.group()
def admin() -> None:
    """Manage communities, gateways and users."""


@admin.command("apply")
@click.option("--file", "file", required=True, type=click.File("rb"), help="A JSON document, or - for standard input.")
@click.option(
    "--wait", default=WAIT_S, show_default=True, help="Seconds to wait for the database to accept connections."
)
def apply(file: BinaryIO, wait: float) -> None:
    """Bring communities, gateways, residents and users to the state of a document.

    Takes PARKMESH_DATABASE_URL from the environment. Absent keys keep what is there, nothing is deleted, and a document
    that can't be applied changes nothing. Prints {"changed", "created", "updated"} as JSON.
    """
    from parkmesh.server import desired, provision

    try:
        url = settings.database_url(os.environ)
        document = desired.parse(file.read())
    except (settings.SettingError, desired.DocumentError) as error:
        raise WrongUse(str(error)) from None

    async def work() -> provision.Applied:
        connection = await database.connect(url, "parkmesh/admin", wait)
        try:
            return await provision.apply(connection, document)
        finally:
            await connection.close()

    try:
        done = asyncio.run(work())
    except desired.DocumentError as error:
        raise WrongUse(str(error)) from None
    except database.DatabaseUnavailable as error:
        _fail(error)
    except asyncpg.PostgresError as error:
        raise click.ClickException(f"the database refused: {logs.describe(error)}") from None
    click.echo(json.dumps({"changed": done.changed, "created": done.created, "updated": done.updated}))
