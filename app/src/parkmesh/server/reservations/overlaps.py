"""What may not overlap, refused with the window that is in the way.

An exclusion constraint decides (SQLSTATE 23P01). PostgreSQL keeps the conflicting row to itself where row-level
security is on, so the window is asked for, in the asker's own community.
"""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Any

import asyncpg

from parkmesh.server.db.database import Connection
from parkmesh.server.http.messages import Message
from parkmesh.server.http.problems import Problem

DETAIL = Message("The time overlaps an existing one.")
BOOKED = Message("Somebody booked the space in that time.")


def overlap(from_: datetime | None, until: datetime | None, detail: Message = DETAIL) -> Problem:
    """Return ``Problem`` 409 of kind ``overlap`` with the window in the way; None: unbounded on that side."""
    return Problem(
        409,
        detail,
        kind="overlap",
        conflict={"from": from_ and from_.isoformat(), "until": until and until.isoformat()},
    )


@asynccontextmanager
async def refused(
    connection: Connection, conflicting: str, *arguments: Any, detail: Message = DETAIL
) -> AsyncGenerator[None]:
    """Turn an exclusion constraint's refusal of what is done inside into ``Problem`` 409 with the window in the way.

    ``conflicting`` is a query for that window, a row of two times (columns 0 and 1, null: unbounded), for example::

        async with overlaps.refused(
            connection,
            "SELECT lower(during), upper(during) FROM booking"
            " WHERE community_id = $1 AND space_id = $2 AND during && $3",
            community_id, space_id, during,
        ):
            await connection.execute("INSERT INTO booking …")

    The transaction itself stays usable: the work inside has a savepoint of its own.
    """
    try:
        async with connection.transaction():
            yield
    except asyncpg.ExclusionViolationError:
        window = await connection.fetchrow(conflicting, *arguments)
        raise (overlap(window[0], window[1], detail) if window else Problem(409, detail, kind="overlap")) from None
