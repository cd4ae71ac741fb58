"""What a server of the release before asks of the database, for tests in which one runs beside the new schema."""

from typing import Any

from parkmesh.protocol.edge import EventBatch
from parkmesh.server.db import database
from parkmesh.server.edge import ingest

_CALL = f"SELECT * FROM edge_events({', '.join(f'${n}' for n in range(1, 27))})"  # noqa: S608
_COLUMNS: tuple[tuple[str, ...], ...] = (
    (
        *("seq", "received", "device", "gate", "direction", "plate", "decision", "reason", "opened", "credential"),
        *("access_list_version", "confidence", "camera", "device_event"),
    ),
    ("seq", "received", "space", "status"),
    ("seq", "received", "kind", "dropped"),
)


async def store(pool: Any, token: bytes, batch: EventBatch) -> int:
    """Store a batch as that release does; return the mark."""
    first, last = batch.events[0].seq, batch.events[-1].seq
    kinds = zip(_COLUMNS, ingest.rows(batch.events), strict=True)
    columns = [[row[name] for row in rows] for names, rows in kinds for name in names]
    row = await database.fetchrow(pool, _CALL, token, batch.epoch, first, last, *columns)
    assert row["outcome"] == "applied"
    mark: int = row["mark"]
    return mark
