"""The data of the server's tests: two communities, a and b, as alike as can be, so that a leak between them shows."""

import asyncio
import hashlib
import json
from pathlib import Path
from typing import Any

from parkmesh.server.communities import desired, provision
from parkmesh.server.db import database

PASSWORD = "correct horse battery"
TOKENS = {"gateway-a": "token-of-gateway-a-0123456789", "gateway-b": "token-of-gateway-b-0123456789"}


def document(password_file: Path | None = None) -> dict[str, Any]:
    """Return the desired state of two communities, a and b, that are as alike as can be."""
    users: list[dict[str, Any]] = [
        {"email": "desk@parkmesh.example", "name": "Desk", "role": "operator"},
        *(
            {"email": f"{role}@{name}.example", "name": role.title(), "role": role, "community": name}
            for name in ("a", "b")
            for role in ("administrator", "resident")
        ),
    ]
    if password_file:
        users = [user | {"password_file": str(password_file)} for user in users]
    return {
        "communities": [
            {
                "name": name,
                "title": f"Community {name.upper()}",
                "time_zone": "Europe/Madrid",
                "gates": [
                    {"name": "main-in", "title": "Main entry", "direction": "entry"},
                    {"name": "main-out", "title": "Main exit", "direction": "exit"},
                ],
                "spaces": [{"name": f"{name}-{n:02}", "level": "P1", "category": "assigned"} for n in range(1, 7)],
                "gateways": [
                    {
                        "name": f"gateway-{name}",
                        "token_sha256": hashlib.sha256(TOKENS[f"gateway-{name}"].encode()).hexdigest(),
                    }
                ],
                "residents": [
                    {"email": f"resident@{name}.example", "name": "Ana", "unit": "1A", "plates": [plate]},
                    {
                        "email": f"luis@{name}.example",
                        "name": "Luis",
                        "unit": "2B",
                        "plates": [f"5678{name.upper()}XX"],
                    },
                ],
            }
            for name, plate in (("a", "1234BCD"), ("b", "1234BCD"))
        ],
        "users": users,
    }


async def apply(url: str, wish: dict[str, Any]) -> provision.Applied:
    """Apply a document as the command does."""
    connection = await database.connect(url, "test", 5)
    try:
        return await provision.apply(connection, desired.parse(json.dumps(wish).encode()))
    finally:
        await connection.close()


async def rows(connection: Any, community: str, query: str, *arguments: Any) -> list[dict[str, Any]]:
    """Return the rows of a query as a community sees them; ``$1`` is the community's id."""
    async with connection.transaction():
        await database.set_scope(connection, "provision")
        identity = await connection.fetchval("SELECT id FROM community WHERE name = $1", community)
        await connection.execute("SELECT set_config('parkmesh.scope', '', true)")
        await database.set_community(connection, identity)
        return [dict(row) for row in await connection.fetch(query, identity, *arguments)]


async def held_for_long(connection: Any, community: str = "a") -> None:
    """Let all residents of a community have had their plates and units for years."""
    for table, column in (("credential", "held_from"), ("resident", "unit_since")):
        await rows(connection, community, f"UPDATE {table} SET {column} = '2020-01-01Z' WHERE community_id = $1")  # noqa: S608


async def until_one_waits(connection: Any) -> None:
    """Wait until a transaction waits for a lock that another one holds."""
    for _ in range(1000):
        if await connection.fetchval("SELECT EXISTS (SELECT FROM pg_locks WHERE NOT granted)"):
            return
        await asyncio.sleep(0.02)
    raise TimeoutError("no transaction waits for another")
