"""``parkmesh admin renew-code-keys``: what ``playbooks/rotate-codes.yml`` asks for.

It takes PARKMESH_DATABASE_URL, works with the application's own rights, and prints JSON.
"""

from datetime import UTC, datetime, timedelta

import click
import msgspec
from msgspec import Struct

from parkmesh.server import audit
from parkmesh.server.commands import database_command
from parkmesh.server.commands.database_command import WrongUse
from parkmesh.server.db import database


class Renewed(Struct, frozen=True):
    """Names of communities: with a new key; whose key is young or not made yet; that have codes of too many former
    keys; that there aren't. ``outdated_gateways`` (community/gateway) don't have a new key yet."""

    changed: bool
    renewed: list[str]
    kept: list[str]
    refused: list[str]
    unknown: list[str]
    outdated_gateways: list[str]


@click.command("renew-code-keys")
@click.option("--community", "communities", multiple=True, help="Its name; may be given more than once.")
@click.option("--all", "every", is_flag=True, help="In all communities.")
@click.option(
    "--older-than-hours", default=0, show_default=True, type=click.IntRange(min=0), help="Keep keys that are younger."
)
@database_command.waiting
def renew_code_keys(communities: tuple[str, ...], every: bool, older_than_hours: int, wait: float) -> None:
    """Give communities a new key for visitors' QR codes. Codes that visitors have stay valid until their passes end.

    Prints {"changed", "renewed", "kept", "refused", "unknown", "outdated_gateways"} as JSON.
    """
    if every == bool(communities):
        raise WrongUse("name communities (--community), or say --all")

    async def work(connection: database.Connection) -> Renewed:
        before = datetime.now(UTC) - timedelta(hours=older_than_hours)
        return await _renew(connection, None if every else communities, before)

    click.echo(msgspec.json.encode(database_command.run("parkmesh/admin", wait, work)))


async def _renew(connection: database.Connection, names: tuple[str, ...] | None, before: datetime) -> Renewed:
    from parkmesh.server.http.problems import Problem
    from parkmesh.server.reservations import pass_codes

    async with connection.transaction():
        await database.set_scope(connection, "server")
        found = {
            row["name"]: row["id"]
            for row in await connection.fetch(
                "SELECT id, name FROM community WHERE offboarded_at IS NULL ORDER BY name"
            )
        }
    renewed, kept, refused, outdated = list[str](), list[str](), list[str](), list[str]()
    for name in found if names is None else [name for name in names if name in found]:
        try:
            async with connection.transaction():
                await database.set_community(connection, found[name])
                present = await pass_codes.key(connection, found[name], lock=True)
                if present is None or (present.renewed_at is not None and present.renewed_at > before):
                    kept.append(name)
                    continue
                done = await pass_codes.renew_key(connection, audit.System("admin"), found[name], present)
        except Problem:
            refused.append(name)
        else:
            renewed.append(name)
            outdated += [f"{name}/{gateway}" for gateway in done.outdated_gateways]
    unknown = [name for name in names or () if name not in found]
    return Renewed(bool(renewed), renewed, kept, refused, unknown, outdated)


COMMANDS = (renew_code_keys,)
