"""Records for a spool of a test, what it holds, and its next start."""

import msgspec
from parkmesh.gateway.spool import Spool
from parkmesh.protocol.edge import Event, Passage, SpaceState, Times

NOW = 1_700_000_000_000


def passage(number: int, at: int = NOW) -> Passage:
    return Passage(1, Times(at), "in", "entry", f"{number:04d}BCD", "denied", "unknown_plate")


def state(number: int, at: int = NOW) -> SpaceState:
    return SpaceState(1, Times(at), f"a-{number}", "occupied")


def events(spool: Spool, limit: int = 100) -> list[Event]:
    return [msgspec.json.decode(record, type=Event) for record in spool.batch(limit)]


def salvage(spool: Spool, now: int = NOW) -> None:
    """Bring over all that a damaged spool still gives, as the agent does beside its work."""
    while spool.salvage(now):
        pass


def reopen(spool: Spool, now: int = NOW + 1) -> Spool:
    spool.close()
    return Spool(spool.path, now=now)
