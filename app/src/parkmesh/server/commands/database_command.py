"""Code of all commands that work on the database at PARKMESH_DATABASE_URL: the wait for it, and errors in one line."""

import asyncio
import os
from collections.abc import Awaitable, Callable
from typing import TypeVar

import asyncpg
import click

from parkmesh.server import settings
from parkmesh.server.db import database
from parkmesh.server.telemetry import logs

T = TypeVar("T")
WAIT_S = 60.0

waiting = click.option(
    "--wait", default=WAIT_S, show_default=True, help="Seconds to wait for the database to accept connections."
)


class WrongUse(click.ClickException):
    exit_code = 2


def run(name: str, wait_s: float, work: Callable[[database.Connection], Awaitable[T]]) -> T:
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
