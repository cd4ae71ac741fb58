"""``parkmesh retention run`` and ``parkmesh admin new-epoch``: done to a whole database now and then."""

import asyncio
import os
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import TypeVar

import asyncpg
import click
import msgspec

from parkmesh.server import database, epochs, logs, settings
from parkmesh.server.retention import Report, run

T = TypeVar("T")
WAIT_S = 60.0

_wait = click.option(
    "--wait", default=WAIT_S, show_default=True, help="Seconds to wait for the database to accept connections."
)


class WrongUse(click.ClickException):
    exit_code = 2


def on_database(name: str, wait_s: float, work: Callable[[database.Connection], Awaitable[T]]) -> T:
    """Run ``work`` with a connection to PARKMESH_DATABASE_URL; turn what can go wrong into one line."""
    try:
        url = settings.database_url(os.environ)
    except settings.SettingError as error:
        raise WrongUse(str(error)) from None

    async def connected() -> T:
        connection = await database.connect(url, name, wait_s)
        try:
            return await work(connection)
        finally:
            await connection.close()

    try:
        return asyncio.run(connected())
    except database.DatabaseUnavailable as error:
        raise click.ClickException(str(error)) from None
    except asyncpg.InsufficientPrivilegeError as error:
        raise click.ClickException(
            f"the database refused ({error.message}): this needs the owner's address, as parkmesh migrate does"
        ) from None
    except asyncpg.PostgresError as error:
        raise click.ClickException(f"the database refused: {logs.describe(error)}") from None


@click.group()
def retention() -> None:
    """Let go of what has been kept long enough."""


@retention.command("run")
@click.option("--dry-run", is_flag=True, help="Change nothing; say what would go.")
@_wait
def run_retention(dry_run: bool, wait: float) -> None:
    """Delete, count and anonymise what is over its time, drop partitions, and make those of the days ahead.

    Takes PARKMESH_DATABASE_URL (the owner's) from the environment and prints a report as JSON. Run it once a day; a
    second run finds nothing.
    """

    def work(connection: database.Connection) -> Awaitable[Report]:
        return run(connection, datetime.now(UTC), dry_run=dry_run)

    click.echo(msgspec.json.encode(on_database("parkmesh/retention", wait, work)).decode())


def begin_epoch(wait: float) -> None:
    """Do and print what ``parkmesh admin new-epoch`` promises."""
    count = on_database("parkmesh/admin", wait, epochs.begin)
    click.echo(msgspec.json.encode({"changed": count > 0, "communities": count}).decode())
