"""The command ``parkmesh verify-audit``. Exit codes: 0 every chain holds, 1 one doesn't or failed, 2 wrong use."""

import os
import tempfile
from pathlib import Path
from typing import BinaryIO

import click

from parkmesh.server.commands import database_command
from parkmesh.server.commands.database_command import WrongUse
from parkmesh.server.db import database


@click.command()
@click.option("--community", metavar="NAME", help="Check this community's chain only.")
@click.option(
    "--against",
    type=click.File("rb"),
    metavar="FILE",
    help="What an earlier run printed (- for standard input): the chains must still pass through the heads it names.",
)
@click.option(
    "--heads",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Write the report to this file too, if every chain holds. It may be the one of --against.",
)
@database_command.waiting
def verify_audit(community: str | None, against: BinaryIO | None, heads: Path | None, wait: float) -> None:
    """Check that no entry of the audit trail was changed, removed, added or reordered.

    Takes PARKMESH_DATABASE_URL from the environment and prints {"ok", "heads", "broken"} as JSON. Keep what it prints
    outside of the database and give it to a later run as --against: only so is a trail found out whose end was cut off,
    or that was written anew, by a person with full rights in the database.
    """
    from parkmesh.server.commands import verify_audit as checks

    if heads and community:
        raise WrongUse("--heads is for all chains: leave out --community")
    try:
        anchors = checks.parse_anchors(against.read()) if against else {}
    except checks.AnchorError as error:
        raise WrongUse(str(error)) from None

    async def work(connection: database.Connection) -> checks.Report:
        return await checks.verify(connection, community, anchors)

    try:
        report = database_command.run("parkmesh/verify-audit", wait, work)
    except LookupError as error:
        raise WrongUse(str(error.args[0])) from None
    click.echo(checks.rendered(report))
    for found in report.broken:
        entry = "" if found.entry is None else f", entry {found.entry}"
        click.echo(f"{found.chain}: at {found.seq}{entry}: {found.problem}", err=True)
    if report.broken:
        raise SystemExit(1)
    if heads:
        try:
            _replace(heads, checks.rendered(report) + "\n")
        except OSError as error:
            raise click.ClickException(f"{heads}: {error.strerror}") from None


def _replace(path: Path, text: str) -> None:
    """Write a file whole or not at all: half a report is worth less than the one before."""
    with tempfile.NamedTemporaryFile("w", dir=path.parent, prefix=f".{path.name}.", delete=False) as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    Path(file.name).replace(path)
