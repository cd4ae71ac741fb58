"""``parkmesh retention run`` and ``parkmesh admin new-epoch``: done to a whole database now and then."""

from collections.abc import Awaitable
from datetime import UTC, datetime

import click
import msgspec

from parkmesh.server import database, epochs, on_database
from parkmesh.server.retention import Report, run


@click.group()
def retention() -> None:
    """Let go of what has been kept long enough."""


@retention.command("run")
@click.option("--dry-run", is_flag=True, help="Change nothing; say what would go.")
@on_database.waiting
def run_retention(dry_run: bool, wait: float) -> None:
    """Delete, count and anonymise what is over its time, drop partitions, and make those of the days ahead.

    Takes PARKMESH_DATABASE_URL (the owner's) from the environment and prints a report as JSON. Run it once a day; a
    second run finds nothing.
    """

    def work(connection: database.Connection) -> Awaitable[Report]:
        return run(connection, datetime.now(UTC), dry_run=dry_run)

    click.echo(msgspec.json.encode(on_database.run("parkmesh/retention", wait, work)).decode())


def begin_epoch(wait: float) -> None:
    """Do and print what ``parkmesh admin new-epoch`` promises."""
    count = on_database.run("parkmesh/admin", wait, epochs.begin)
    click.echo(msgspec.json.encode({"changed": count > 0, "communities": count}).decode())
