"""``parkmesh retention run`` and ``parkmesh admin new-epoch``: commands that change a whole database now and then."""

from collections.abc import Awaitable
from datetime import UTC, datetime

import click
import msgspec

from parkmesh.server.commands import database_command, epochs
from parkmesh.server.commands.retention import Report, run
from parkmesh.server.db import database


@click.group()
def retention() -> None:
    """Delete what has been kept long enough."""


@retention.command("run")
@click.option("--dry-run", is_flag=True, help="Change nothing; say what would go.")
@database_command.waiting
def run_retention(dry_run: bool, wait: float) -> None:
    """Delete, count and anonymise what is over its time, drop partitions, and make those of the days ahead.

    Takes PARKMESH_DATABASE_URL (the owner's) from the environment and prints a report as JSON. Run it once a day; a
    second run finds nothing.
    """

    def work(connection: database.Connection) -> Awaitable[Report]:
        return run(connection, datetime.now(UTC), dry_run=dry_run)

    click.echo(msgspec.json.encode(database_command.run("parkmesh/retention", wait, work)).decode())


def begin_epoch(wait: float) -> None:
    """Do and print what ``parkmesh admin new-epoch`` promises."""
    count = database_command.run("parkmesh/admin", wait, epochs.begin)
    click.echo(msgspec.json.encode({"changed": count > 0, "communities": count}).decode())
