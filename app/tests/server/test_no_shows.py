"""Bookings that nobody uses end; whoever may be there, or isn't known to be absent, keeps theirs."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import asyncpg
import pytest
from parkmesh.server.db import database
from parkmesh.server.reservations import no_shows
from running_server import Database
from test_bookings_concurrent import Place, make_place

NOW = datetime.now(UTC)
START = NOW - timedelta(minutes=31)
BOOKING = "SELECT status, no_show FROM booking WHERE community_id = $1"

FREE_BEFORE = """
    INSERT INTO space_state (community_id, space_id, status, received_at, changed_at, gateway_id)
    SELECT s.community_id, s.id, '{status}', now(), now() - interval '{ago} min', g.id
    FROM space s JOIN gateway g USING (community_id) WHERE s.name = 's3'
"""
PRESENT = """
    INSERT INTO presence (community_id, plate, inside, at, gateway_id, epoch, seq, gate)
    SELECT community_id, '7777ZZZ', {inside}, now() - interval '{ago} min', id, 1, 1, 'main' FROM gateway
"""
SENSOR = FREE_BEFORE.format(status="free", ago=90)


@pytest.fixture
async def place(filled: Database) -> AsyncIterator[Place]:
    async with database.create_pool(filled.app, "no-shows", 4) as pool:
        yield await make_place(filled.owner, pool)


async def prepared(db: Database, place: Place, *more: str) -> None:
    """Book s3 since 31 minutes ago for a unit with one plate, whose community ends unused bookings after 30."""
    owner = await asyncpg.connect(db.owner)
    try:
        async with owner.transaction():
            await database.set_community(owner, place.community)
            for statement, *arguments in (
                ("UPDATE community_rules SET no_show_minutes = 30",),
                (
                    "INSERT INTO gateway (community_id, name, token_sha256, last_heartbeat_at, backlog)"
                    " VALUES ($1, 'g', sha256($2), now(), 0)",
                    place.community,
                    str(place.community).encode(),
                ),
                (
                    "INSERT INTO resident (community_id, email, name, unit_id) VALUES ($1, 'x@x.example', 'X', $2)",
                    place.community,
                    place.units[0],
                ),
                (
                    "INSERT INTO credential (community_id, plate, resident_id)"
                    " SELECT community_id, '7777ZZZ', id FROM resident",
                ),
                (
                    "INSERT INTO booking (community_id, space_id, unit_id, starts_at, ends_at, created_at)"
                    " SELECT community_id, id, $1, $2, $3, $4 FROM space WHERE name = 's3'",
                    place.units[0],
                    START,
                    NOW + timedelta(hours=3),
                    START - timedelta(hours=1),
                ),
                *((each,) for each in more),
            ):
                await owner.execute(statement, *arguments)
    finally:
        await owner.close()


async def released(place: Place, now: datetime = NOW) -> bool:
    async with database.in_community(place.pool, place.community) as connection:
        found = await no_shows.release(connection, place.community, now)
    [row] = await place.rows(BOOKING)
    assert (row["status"], row["no_show"]) == (("cancelled", True) if found else ("active", False))
    return bool(found)


@pytest.mark.parametrize(
    ("what", "more", "ends"),
    [
        ("a sensor saw nobody", [SENSOR], True),
        ("no sensor, and no car came", [], True),
        ("the car left before the booking began", [PRESENT.format(inside=False, ago=60)], True),
        ("the sensor sees a car", [FREE_BEFORE.format(status="occupied", ago=10)], False),
        ("the sensor saw a car that left again", [FREE_BEFORE.format(status="free", ago=5)], False),
        ("the sensor knows nothing", [FREE_BEFORE.format(status="unknown", ago=90)], False),
        ("the sensor died days ago", [SENSOR, "UPDATE space_state SET received_at = now() - interval '2 d'"], False),
        ("the car is inside, in whatever space", [SENSOR, PRESENT.format(inside=True, ago=600)], False),
        ("the car was there and left", [SENSOR, PRESENT.format(inside=False, ago=5)], False),
        ("neither sensor nor plate", ["DELETE FROM credential"], False),
        ("the gateway is silent", [SENSOR, "UPDATE gateway SET last_heartbeat_at = now() - interval '6 min'"], False),
        ("the gateway has yet to send", [SENSOR, "UPDATE gateway SET backlog = 3"], False),
        ("there is no gateway", ["DELETE FROM gateway"], False),
        ("the rule is off", [SENSOR, "UPDATE community_rules SET no_show_minutes = 0"], False),
        ("the rule gives more time", [SENSOR, "UPDATE community_rules SET no_show_minutes = 40"], False),
        ("it was booked late", [SENSOR, "UPDATE booking SET created_at = now() - interval '10 min'"], False),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
async def test_only_a_booking_that_surely_nobody_uses_ends(
    filled: Database, place: Place, what: str, more: list[str], ends: bool
) -> None:
    await prepared(filled, place, *more)
    assert await released(place) is ends, what


async def test_it_is_told_once_and_the_unit_reads_it(filled: Database, place: Place) -> None:
    await prepared(filled, place, SENSOR)
    assert place.community in await no_shows.behind(place.pool, None)
    assert await released(place)
    async with database.in_community(place.pool, place.community) as connection:
        assert await no_shows.release(connection, place.community, NOW) == []
        [told] = await no_shows.recent(connection, place.community, place.units[0], NOW)
    assert told == no_shows.Released("s3", NOW)
    events = await place.rows("SELECT type FROM event WHERE community_id = $1")
    assert [row["type"] for row in events] == ["booking.no_show"]
