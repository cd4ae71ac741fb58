"""Hand a batch of events to the database's ``edge_batch``, in one call."""

import re
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import msgspec

from parkmesh.domain.access import Reason
from parkmesh.protocol.edge import Event, EventAck, EventBatch, Gap, Passage, SpaceState
from parkmesh.server.db import database
from parkmesh.server.http.problems import Problem
from parkmesh.server.telemetry import metrics

_CALL = "SELECT * FROM edge_batch($1, $2, $3, $4, $5, $6, $7)"
_REFUSED = {
    "gap": ("sequence-gap", "The batch starts at {first}, the next event of epoch {epoch} is {next}."),
    "stale": (
        "stale-epoch",
        "Epoch {given} is over, the gateway is in {epoch}; a spool that lost it starts a larger one.",
    ),
    "other": (
        "other-events",
        "Event {next} of epoch {epoch} is stored, and it is another one; a spool that was put back starts a larger"
        " epoch.",
    ),
}
"""What the database refuses: the kind of problem, and what it says."""
_PASS = re.compile(r"pass-([0-9]{1,18})")
"""A credential that is the code of a visitor pass."""
_encoder = msgspec.json.Encoder()


class _Unread(msgspec.Struct):
    events: list[msgspec.Raw]


class _Numbered(msgspec.Struct):
    seq: int


_batch = msgspec.json.Decoder(EventBatch)
_unread = msgspec.json.Decoder(_Unread)
_event = msgspec.json.Decoder(Event)


class NotIdentified(Exception):
    """No gateway holds the token."""


def read(body: bytes) -> EventBatch:
    """Decode a batch; raise ``Problem`` 422 that names the first event which is none.

    One such event has its batch refused whole: a gateway then sends fewer, until it has found the one that it sets
    aside, and sends a gap in its place. Raises what ``msgspec`` raises for what is no JSON or no batch.
    """
    try:
        return _batch.decode(body)
    except msgspec.ValidationError as error:
        raise Problem(422, _faulty_event(body) or str(error), kind="invalid") from None


def _faulty_event(body: bytes) -> str | None:
    # Another form of batch, which may be too deep to be looked into.
    with suppress(msgspec.DecodeError, RecursionError):
        for place, event in enumerate(_unread.decode(body).events):
            try:
                _event.decode(event)
            except msgspec.ValidationError as error:
                return f"$.events[{place}]{_numbered(event)}: {error}"
    return None


def _numbered(event: msgspec.Raw) -> str:
    with suppress(msgspec.DecodeError):
        return f" (seq {msgspec.json.decode(event, type=_Numbered).seq})"
    return ""


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
    """Return the text with NUL replaced, which PostgreSQL doesn't store: a device's oddity loses no event."""
    return text if text is None else text.replace("\x00", "\ufffd")


def rows(events: list[Event]) -> tuple[list[dict[str, Any]], list[dict[str, Any]], list[dict[str, Any]]]:
    """Return the passages, the space states and the gaps among ``events`` as the objects that ``edge_batch`` takes."""
    passages: list[dict[str, Any]] = []
    states: list[dict[str, Any]] = []
    gaps: list[dict[str, Any]] = []
    for event in events:
        if isinstance(event, SpaceState):
            states.append(
                {
                    "seq": event.seq,
                    "received": event.times.received,
                    "space": event.space,
                    "status": event.status,
                }
            )
        elif isinstance(event, Passage):
            passages.append(
                {
                    "seq": event.seq,
                    "received": event.times.received,
                    "device": event.times.device,
                    "gate": event.gate,
                    "direction": event.direction,
                    "plate": storable(event.plate),
                    "decision": event.decision,
                    "reason": storable(event.reason),
                    "opened": event.opened,
                    "credential": storable(event.credential_id),
                    "access_list_version": event.access_list_version,
                    "confidence": event.confidence,
                    "camera": storable(event.camera),
                    "device_event": storable(event.device_event_id),
                }
            )
        elif isinstance(event, Gap):
            gaps.append(
                {
                    "seq": event.seq,
                    "received": event.times.received,
                    "kind": storable(event.kind),
                    "dropped": event.dropped,
                }
            )
    return passages, states, gaps


def code_uses(events: list[Event]) -> list[dict[str, Any]]:
    """Return which visitor passes' codes opened a gate, as the objects that ``edge_code_uses`` takes."""
    return [
        {"visitor_pass": int(found[1]), "direction": event.direction, "received": event.times.received}
        for event in events
        if isinstance(event, Passage)
        and event.opened
        and event.reason == Reason.BY_CODE
        and (found := _PASS.fullmatch(event.credential_id or ""))
    ]


async def store(
    pool: database.Pool, token: bytes, batch: EventBatch, changed: Callable[[int, str], None] = lambda *_: None
) -> EventAck:
    """Apply a batch exactly once, say ``changed`` (the community's id and what of it), and return the mark.

    Raises ``NotIdentified``, or ``Problem`` 409 for a batch that leaves a gap, belongs to an epoch that is over, or has
    other events under numbers that are stored, with what the server takes next.
    """
    check_order(batch)
    first, last = batch.events[0].seq, batch.events[-1].seq
    passages, states, gaps = rows(batch.events)
    lists = (_encoder.encode(kind).decode() for kind in (passages, states, gaps))
    row = await database.fetchrow(pool, _CALL, token, batch.epoch, first, last, *lists)
    outcome, epoch, mark = row["outcome"], row["epoch"], row["mark"]
    if outcome == "unidentified":
        raise NotIdentified
    if outcome in _REFUSED:
        metrics.EDGE_BATCHES.labels(outcome).inc()
        kind, detail = _REFUSED[outcome]
        detail = detail.format(first=first, given=batch.epoch, epoch=epoch, next=mark + 1)
        raise Problem(409, detail, kind=kind, expected_epoch=epoch, expected_seq=mark + 1)
    # Also where the batch was known: the server that stored it may have died before it announced the change.
    if uses := code_uses(batch.events):
        await database.fetchrow(pool, "SELECT edge_code_uses($1, $2)", token, _encoder.encode(uses).decode())
    # The letters are those of the channel ``parkmesh_live``.
    changed(row["community_id"], ("p" if passages else "") + ("s" if states else "") + ("g" if gaps else ""))
    metrics.EDGE_BATCHES.labels(outcome).inc()
    metrics.EDGE_EVENTS.labels(outcome).inc(len(batch.events))
    return EventAck(epoch=epoch, acked=mark)
