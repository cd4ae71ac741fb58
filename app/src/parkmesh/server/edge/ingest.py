"""A batch of events into columns and into the database's ``edge_batch``, in one call."""

from collections.abc import Callable
from typing import Any

from parkmesh.protocol.edge import Event, EventAck, EventBatch, Gap, Passage, SpaceState
from parkmesh.server.db import database
from parkmesh.server.http.problems import Problem
from parkmesh.server.telemetry import metrics

_CALL = f"SELECT * FROM edge_batch({', '.join(f'${n}' for n in range(1, 27))})"  # noqa: S608


class NotIdentified(Exception):
    """No gateway holds the token."""


def check_order(batch: EventBatch) -> None:
    """Raise ``Problem`` 422 where the batch is not one run of consecutive numbers."""
    first = batch.events[0].seq
    for offset, event in enumerate(batch.events):
        if event.seq != first + offset:
            raise Problem(
                422,
                f"$.events[{offset}].seq: expected {first + offset}, found {event.seq}; a batch has no gaps",
                kind="invalid",
            )


def storable(text: str | None) -> str | None:
    """Return the text without the one character that PostgreSQL doesn't store: a device's oddity loses no event."""
    return text if text is None else text.replace("\x00", "\ufffd")


def columns(events: list[Event]) -> list[list[Any]]:
    """Return the events as the arrays that ``edge_batch`` takes: 14 of passages, 4 of space states, 4 of gaps."""
    passages: list[tuple[Any, ...]] = []
    states: list[tuple[Any, ...]] = []
    gaps: list[tuple[Any, ...]] = []
    for event in events:
        if isinstance(event, SpaceState):
            states.append((event.seq, event.times.received, event.space, event.status))
        elif isinstance(event, Passage):
            passages.append(
                (
                    event.seq,
                    event.times.received,
                    event.times.device,
                    event.gate,
                    event.direction,
                    storable(event.plate),
                    event.decision,
                    storable(event.reason),
                    event.opened,
                    storable(event.credential_id),
                    event.access_list_version,
                    event.confidence,
                    storable(event.camera),
                    storable(event.device_event_id),
                )
            )
        elif isinstance(event, Gap):
            gaps.append((event.seq, event.times.received, storable(event.kind), event.dropped))
    return [*_transposed(passages, 14), *_transposed(states, 4), *_transposed(gaps, 4)]


def _transposed(rows: list[tuple[Any, ...]], width: int) -> list[list[Any]]:
    return [list(column) for column in zip(*rows, strict=True)] if rows else [[] for _ in range(width)]


def changes(columns: list[list[Any]]) -> str:
    """Return what the events of ``columns`` change, in the letters of the channel ``parkmesh_live``."""
    passages, states, gaps = columns[0], columns[14], columns[18]
    return ("p" if passages else "") + ("s" if states else "") + ("g" if gaps else "")


async def store(
    pool: database.Pool, token: bytes, batch: EventBatch, changed: Callable[[int, str], None] = lambda *_: None
) -> EventAck:
    """Apply a batch exactly once, say ``changed`` (the community's id and what of it), and return the mark.

    Raises ``NotIdentified``, or ``Problem`` 409 for a batch that leaves a gap or belongs to an epoch that is over, with
    what the server takes next.
    """
    check_order(batch)
    first, last = batch.events[0].seq, batch.events[-1].seq
    arrays = columns(batch.events)
    row = await database.fetchrow(pool, _CALL, token, batch.epoch, first, last, *arrays)
    outcome, epoch, mark = row["outcome"], row["epoch"], row["mark"]
    if outcome == "unidentified":
        raise NotIdentified
    if outcome in ("gap", "stale"):
        metrics.EDGE_BATCHES.labels(outcome).inc()
        detail = (
            f"The batch starts at {first}, the next event of epoch {epoch} is {mark + 1}."
            if outcome == "gap"
            else f"Epoch {batch.epoch} is over, the gateway is in {epoch}; a spool that lost it starts a larger one."
        )
        kind = "sequence-gap" if outcome == "gap" else "stale-epoch"
        raise Problem(409, detail, kind=kind, expected_epoch=epoch, expected_seq=mark + 1)
    # Also where it was known: whoever stored it may have died before he could say so.
    changed(row["community_id"], changes(arrays))
    metrics.EDGE_BATCHES.labels(outcome).inc()
    metrics.EDGE_EVENTS.labels(outcome).inc(len(batch.events))
    return EventAck(epoch=epoch, acked=mark)
