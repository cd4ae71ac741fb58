"""``parkmesh admin invite``, ``test-plates`` and ``test-passages``: what ``playbooks/onboard-community.yml`` asks for.

All take the servers' environment, work with the application's own rights, and print JSON.
"""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import TypeVar

import asyncpg
import click
import msgspec

from parkmesh.server import settings
from parkmesh.server.commands.database_command import WrongUse
from parkmesh.server.telemetry import logs

T = TypeVar("T")

_community = click.option("--community", required=True, help="Its name.")


def _run(work: Callable[[asyncpg.Pool, settings.Settings], Awaitable[T]]) -> None:
    """Run ``work`` with a pool and the servers' settings, and print what it returns."""
    from parkmesh.server.commands import onboarding
    from parkmesh.server.db import database
    from parkmesh.server.http.problems import Problem

    try:
        config = settings.from_environment()
    except settings.SettingError as error:
        raise WrongUse(str(error)) from None

    async def with_pool() -> T:
        async with database.create_pool(config.database_url, "parkmesh/admin", 2) as pool:
            return await work(pool, config)

    try:
        done = asyncio.run(with_pool())
    except (onboarding.UnknownCommunityError, Problem) as error:
        raise click.ClickException(str(error)) from None
    except database.OFFLINE as error:
        raise click.ClickException(f"no connection to the database: {type(error).__name__}: {error}") from None
    except asyncpg.PostgresError as error:
        raise click.ClickException(f"the database refused: {logs.describe(error)}") from None
    click.echo(msgspec.json.encode(done))


@click.command("invite")
@_community
@click.option("--email", required=True, help="Of the administrator.")
@click.option("--again", is_flag=True, help="Make a new link where an invitation waits; the one before ends.")
def invite(community: str, email: str, again: bool) -> None:
    """Invite an administrator into a community.

    Prints the link and the code, this once, and mails them where the service sends mails. An invitation that waits is
    left alone ("state": "pending"), and so is a member ("member").
    """
    from parkmesh.server.commands import onboarding

    _run(lambda pool, config: onboarding.invite(pool, config, community, email, again=again))


@click.command("test-plates")
@_community
@click.option("--count", default=1, show_default=True, type=click.IntRange(1, 50))
@click.option("--minutes", default=15, show_default=True, type=click.IntRange(1, 240), help="How long they open gates.")
def test_plates(community: str, count: int, minutes: int) -> None:
    """Give a community invented plates that open its gates for some minutes, and print them."""
    from parkmesh.server.commands import onboarding

    _run(lambda pool, _: onboarding.add_test_plates(pool, community, count, timedelta(minutes=minutes)))


@click.command("test-passages")
@_community
@click.option("--plate", "plates", multiple=True, required=True, help="As often as there are plates.")
@click.option("--minutes", default=15, show_default=True, type=click.IntRange(1, 240), help="How far to look back.")
@click.option(
    "--count", type=click.IntRange(1, 500), help="How many passages to wait for.  [default: one of each plate]"
)
@click.option("--within", default=30.0, show_default=True, type=click.FloatRange(0, 300), help="Seconds to wait.")
def test_passages(community: str, plates: tuple[str, ...], minutes: int, count: int | None, within: float) -> None:
    """Print the latest passage of each plate at each gate and in each direction, waiting until all are there or the
    time is up."""
    from parkmesh.server.commands import onboarding

    since, wanted = timedelta(minutes=minutes), count or len(set(plates))
    _run(lambda pool, _: onboarding.passages_of(pool, community, plates, since, wanted, within))


COMMANDS = (invite, test_plates, test_passages)
