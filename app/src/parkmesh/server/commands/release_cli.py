"""``parkmesh admin publish-release``, ``cancel-releases`` and ``show-releases``: what
``playbooks/publish-gateway-release.yml`` asks for.

All take PARKMESH_DATABASE_URL, work with the application's own rights, and print JSON.
"""

from typing import BinaryIO

import click
import msgspec

from parkmesh.server.commands import database_command
from parkmesh.server.commands.database_command import WrongUse
from parkmesh.server.db import database


@click.command("publish-release")
@click.option("--file", "file", required=True, type=click.File("rb"), help="A JSON document, or - for standard input.")
@database_command.waiting
def publish_release(file: BinaryIO, wait: float) -> None:
    """Let gateways fetch a signed release at their next contact.

    The document is what scripts/sign_release.py prints, with "gateways": names by community, and an empty list for all
    of a community's. Prints {"changed", "serial", "release", "ordered", "unknown", …} as JSON.
    """
    from parkmesh.server.commands import release_publication

    try:
        publication, manifest = release_publication.read(file.read())
    except release_publication.DocumentError as error:
        raise WrongUse(str(error)) from None

    async def work(connection: database.Connection) -> release_publication.Published:
        return await release_publication.publish(connection, publication, manifest)

    try:
        done = database_command.run("parkmesh/admin", wait, work)
    except release_publication.DocumentError as error:
        raise WrongUse(str(error)) from None
    click.echo(msgspec.json.encode(done))


@click.command("cancel-releases")
@click.option("--file", "file", required=True, type=click.File("rb"), help="Names by community, as JSON; or -.")
@database_command.waiting
def cancel_releases(file: BinaryIO, wait: float) -> None:
    """End what gateways should have fetched and haven't taken yet. Prints {"changed", "ended"} as JSON."""
    from parkmesh.server.commands import release_publication

    try:
        gateways = msgspec.json.decode(file.read(), type=dict[str, list[str]])
    except msgspec.DecodeError as error:
        raise WrongUse(f"the document must name gateways by community: {error}") from None

    async def work(connection: database.Connection) -> int:
        return await release_publication.cancel(connection, gateways)

    ended = database_command.run("parkmesh/admin", wait, work)
    click.echo(msgspec.json.encode({"changed": ended > 0, "ended": ended}))


@click.command("show-releases")
@database_command.waiting
def show_releases(wait: float) -> None:
    """Print which release each gateway should fetch, and how it went, as JSON."""
    from parkmesh.server.commands import release_publication

    click.echo(msgspec.json.encode(database_command.run("parkmesh/admin", wait, release_publication.orders)))


COMMANDS = [publish_release, cancel_releases, show_releases]
