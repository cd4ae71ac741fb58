"""A community's access list as a gateway takes it: full, or what changed since the version that it holds."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from parkmesh.protocol.edge import AccessEntry, AccessList
from parkmesh.server.database import Connection

_ENTRIES = "SELECT id, plate, status, valid_from, valid_until FROM credential"


async def read(connection: Connection, community_id: int, held: int) -> AccessList:
    """Return the list for a gateway that holds version ``held`` (0: none).

    The connection is in a transaction that sees one state of the database. A version that the community has not reached
    (a restored database) gets the full list.
    """
    version: int = await connection.fetchval("SELECT access_list_version FROM community WHERE id = $1", community_id)
    if not 0 < held <= version:
        rows = await connection.fetch(f"{_ENTRIES} WHERE community_id = $1 ORDER BY id", community_id)
        return AccessList(version=version, full=True, entries=_entries(rows))
    changed = [
        row["credential_id"]
        for row in await connection.fetch(
            "SELECT DISTINCT credential_id FROM access_list_change WHERE community_id = $1 AND version > $2",
            community_id,
            held,
        )
    ]
    rows = await connection.fetch(
        f"{_ENTRIES} WHERE community_id = $1 AND id = ANY($2) ORDER BY id", community_id, changed
    )
    removed = sorted(set(changed) - {row["id"] for row in rows})
    return AccessList(version=version, full=False, entries=_entries(rows), removed=[str(item) for item in removed])


def _entries(rows: Sequence[Any]) -> list[AccessEntry]:
    return [
        AccessEntry(
            credential_id=str(row["id"]),
            plate=row["plate"],
            status=row["status"],
            valid_from=_millis(row["valid_from"]),
            valid_until=_millis(row["valid_until"]),
        )
        for row in rows
    ]


def _millis(moment: datetime | None) -> int | None:
    return None if moment is None else int(moment.timestamp() * 1000)
