"""Events: written with the act, for those who want to be told."""

from collections.abc import Callable
from typing import Any

import asyncpg
import pytest
from parkmesh.server import audit
from parkmesh.server.outbox import events
from two_communities import rows

People = Callable[[str], Any]
A = "/api/v1/communities/a"


async def kept(owner: asyncpg.Connection, community: str = "a") -> list[dict[str, Any]]:
    """Return a community's events, the oldest first."""
    return await rows(owner, community, "SELECT * FROM event WHERE community_id = $1 ORDER BY id")


def test_every_act_that_is_an_event_has_a_type_that_is_described() -> None:
    assert set(audit.EVENTS.values()) <= set(events.TYPES)


async def test_an_act_and_its_event_are_written_together(owner: asyncpg.Connection, people: People) -> None:
    client = await people("resident@a.example")
    made = await client.post(f"{A}/vehicles", json={"plate": "7777ZZZ"})
    assert made.status_code == 201, made.text
    [event] = await kept(owner)
    assert (event["type"], event["object"]) == ("credential.added", f"credential/{made.json()['id']}")
    assert "7777ZZZ" not in str(event)
    assert await kept(owner, "b") == []
    again = await client.post(f"{A}/vehicles", json={"plate": "7777ZZZ"})
    assert again.status_code == 409
    assert len(await kept(owner)) == 1


async def test_a_type_that_is_not_described_is_refused(owner: asyncpg.Connection) -> None:
    with pytest.raises(KeyError):
        await events.record(owner, 1, "booking.forgotten", "booking/1")
