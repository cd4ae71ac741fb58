"""The epoch of the access lists: the history in which their versions count.

A database that was restored from a backup has lost versions that gateways hold, and gives their numbers to other
changes. A new epoch tells every gateway to take the full list.
"""

from parkmesh.server.db import database


async def begin(connection: database.Connection) -> int:
    """Give every community a new epoch and tell those gateways that listen; return the number of communities."""
    async with database.provisioning(connection):
        rows = await connection.fetch(
            """
            UPDATE community SET access_list_epoch = 1 + (random() * 9007199254740000)::bigint,
                                 access_list_version = access_list_version + 1
            RETURNING id, access_list_version
            """
        )
        await connection.executemany(
            "SELECT pg_notify('parkmesh_access_list', $1)",
            [(f"{row['id']}:{row['access_list_version']}",) for row in rows],
        )
    return len(rows)
