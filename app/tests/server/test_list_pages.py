"""Every list that is read by pages is read back from a place as it was read on."""

from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import Any

import pytest
from parkmesh.server import audit
from parkmesh.server.access import bars, checks, passages, stays, violations
from parkmesh.server.communities import desk
from parkmesh.server.db import database, keyset
from parkmesh.server.identity import api_keys
from parkmesh.server.outbox import messages
from parkmesh.server.people import members, residents, units
from parkmesh.server.reservations import bookings, visitor_nights, visitor_passes, waiting_list
from parkmesh.server.spaces import spaces
from parkmesh.server.webhooks import deliveries, endpoints
from running_server import Database
from two_communities import rows

MADE = (
    """INSERT INTO passage (community_id, gateway_id, epoch, seq, received_at, device_at, gate, direction, plate,
                            decision, reason, access_list_version)
       SELECT $1, w.id, 1, n, now() - (n / 3) * interval '1 minute', now(), 'main-in', 'entry', 'PL8' || n, 'denied',
              'unknown_plate', 0
       FROM gateway w, generate_series(1, 7) n WHERE w.community_id = $1""",
    """UPDATE gateway SET epoch = 1, acked = 7 WHERE community_id = $1""",
    """INSERT INTO stay (community_id, plate, entered_at, entered_gateway, entered_epoch, entered_seq)
       SELECT $1, 'PL8' || n, now() - (n / 3) * interval '1 minute', 1, 1, n FROM generate_series(1, 7) n""",
    """INSERT INTO violation (community_id, kind, since, opened_at, noticed_by, opened_by)
       SELECT $1, 'fire_lane', now(), now() - (n / 3) * interval '1 minute', 'staff', 'x'
       FROM generate_series(1, 7) n""",
    """INSERT INTO violation_step (community_id, violation_id, state, at, actor, note)
       SELECT $1, id, 'open', opened_at, 'x', '' FROM violation WHERE community_id = $1""",
    """INSERT INTO plate_check (community_id, plate, at, asked_at, asked_by, allowed, by, grace, reason)
       SELECT $1, 'PL8' || n, now(), now() - (n / 3) * interval '1 minute', 'x', false, 'none', false, 'none'
       FROM generate_series(1, 7) n""",
    """INSERT INTO bar (community_id, plate, reason) SELECT $1, 'PL8' || n, 'stolen' FROM generate_series(1, 7) n""",
    """INSERT INTO api_key (community_id, name, role, token_sha256)
       SELECT $1, 'key ' || n, 'reader', sha256(n::text::bytea) FROM generate_series(1, 7) n""",
    """INSERT INTO unit (community_id, name) SELECT $1, 'unit ' || n FROM generate_series(1, 7) n""",
    """INSERT INTO resident (community_id, email, name, unit_id)
       SELECT $1, n || '@a.example', 'Ana', min(id) FROM unit, generate_series(1, 7) n
       WHERE community_id = $1 GROUP BY n""",
    """INSERT INTO visitor_pass (community_id, unit_id, plate, starts_at, ends_at, month, token_sha256)
       SELECT $1, min(id), 'PL8' || n, now() + (n / 3) * interval '1 hour', now() + interval '4 hours', now(),
              sha256(n::text::bytea)
       FROM unit, generate_series(1, 7) n WHERE community_id = $1 GROUP BY n""",
    """INSERT INTO booking (community_id, space_id, unit_id, starts_at, ends_at)
       SELECT $1, s.id, min(u.id), '2090-01-01T10:00Z', '2090-01-01T11:00Z' FROM space s, unit u
       WHERE s.community_id = $1 AND u.community_id = $1 GROUP BY s.id""",
    """INSERT INTO waiting (community_id, unit_id, starts_at, ends_at, ev, accessible)
       SELECT $1, id, now(), now() + interval '1 hour', false, false FROM unit WHERE community_id = $1""",
    """INSERT INTO visitor_nights_exception (community_id, unit_id, plate, until, reason, made_by)
       SELECT $1, id, 'PL8X', now(), 'a nurse', 'x' FROM unit WHERE community_id = $1""",
    """INSERT INTO webhook_endpoint (community_id, url, secret, made_by)
       SELECT $1, 'https://hooks.example/' || n, sha256('x'), 'x' FROM generate_series(1, 7) n""",
    """INSERT INTO webhook_delivery (community_id, endpoint_id, event_id, type, at)
       SELECT $1, min(e.id), gen_random_uuid(), 'webhook.test', now() FROM webhook_endpoint e, generate_series(1, 7) n
       WHERE e.community_id = $1 GROUP BY n""",
)

Read = Callable[..., Awaitable[list[Any]]]
Place = Callable[[Any], Any]
LISTS: dict[str, tuple[Read, str, Place]] = {
    # How it is read, what its place is called, and the place of an item.
    "passages": (passages.search, "before", lambda item: (item.received_at, item.id)),
    "stays": (stays.page, "before", lambda item: (item.entered_at, item.id)),
    "violations": (violations.page, "before", lambda item: (item.opened_at, item.id)),
    "checks": (checks.page, "before", lambda item: (item.asked_at, item.id)),
    "bars": (bars.page, "after", lambda item: (item.plate,)),
    "keys": (api_keys.listed, "after", lambda item: item.id),
    "units": (units.page, "after", lambda item: (item.name, item.id)),
    "residents": (residents.page, "after", lambda item: (item.name, item.id)),
    "spaces": (spaces.page, "after", lambda item: item.name),
    "passes": (visitor_passes.page, "after", lambda item: (item.from_, item.id)),
    "bookings": (bookings.page, "after", lambda item: (item.from_, item.id)),
    "waiting": (waiting_list.page, "after", lambda item: (item.created_at, item.id)),
    "exceptions": (visitor_nights.page, "after", lambda item: item.id),
    "endpoints": (endpoints.listed, "after", lambda item: item.id),
    "trail": (audit.entries, "before", lambda item: item.id),
}
FILTERED: dict[str, dict[str, Any]] = {
    "of part of a plate": {"only": passages.Filter(plate="PL8")},
    "of some time": {
        "only": passages.Filter(
            since=datetime.fromisoformat("2020-01-01T00:00Z"), until=datetime.fromisoformat("2090-01-01T00:00Z")
        )
    },
}


async def check(read: Callable[..., Awaitable[list[Any]]], name: str, place: Place, start: Any = None) -> None:
    """Compare a list with itself read back from each of its places, by two and whole."""
    listed = await read(limit=100, **{name: start})
    assert len(listed) >= 3
    for n, item in enumerate(listed):
        for limit in (2, 100):
            back = await read(limit=limit, way=keyset.BACK, **{name: place(item)})
            assert back == listed[:n][::-1][:limit]
        assert await read(limit=2, **{name: place(item)}) == listed[n + 1 :][:2]


@pytest.fixture
async def community(filled: Database, owner: Any) -> int:
    for query in MADE:
        await rows(owner, "a", query)
    (found,) = await rows(owner, "a", "SELECT id FROM community WHERE id = $1")
    async with database.create_pool(filled.app, "test", 1) as pool, database.in_community(pool, found["id"]) as acting:
        for n in range(7):
            await audit.record(acting, audit.System("test"), found["id"], "gate.open", f"gate/{n}")
    return int(found["id"])


async def test_lists_of_a_community_are_read_on_and_back(filled: Database, owner: Any, community: int) -> None:
    async with (
        database.create_pool(filled.app, "test", 1) as pool,
        database.in_community(pool, community, read_only=True) as connection,
    ):
        for name, (read, place_name, place) in LISTS.items():
            start = 0 if read in (api_keys.listed, endpoints.listed) else None

            async def listed(read: Read = read, **options: Any) -> list[Any]:
                return await read(connection, community, **options)

            try:
                await check(listed, place_name, place, start)
            except AssertionError as error:
                raise AssertionError(name) from error
        for options in FILTERED.values():

            async def found(options: dict[str, Any] = options, **given: Any) -> list[Any]:
                return await passages.search(connection, community, **options, **given)

            await check(found, "before", LISTS["passages"][2])

        async def sent(**options: Any) -> list[Any]:
            return await deliveries.listed(connection, community, endpoint, **options)

        endpoint = (await endpoints.listed(connection, community, limit=1, after=0))[0].id
        await check(sent, "before", lambda item: item.id)


async def test_accounts_are_read_on_and_back(filled: Database, owner: Any, community: int) -> None:
    async with owner.transaction():
        await database.set_scope(owner, "identity")
        await database.set_community(owner, community)
        await owner.execute(
            """
            WITH made AS (INSERT INTO app_user (email, name, password_hash)
                          SELECT n || '@a.example', 'Ana', '!' FROM generate_series(1, 5) n RETURNING id)
            INSERT INTO membership (community_id, user_id, role) SELECT $1, id, 'administrator' FROM made
            """,
            community,
        )
    async with (
        database.create_pool(filled.app, "test", 1) as pool,
        members.with_accounts(pool, community) as connection,
    ):

        async def accounts(**options: Any) -> list[Any]:
            return await members.page(connection, community, **options)

        await check(accounts, "after", lambda item: (item.email, item.id))


async def test_lists_of_the_desk_are_read_on_and_back(filled: Database, owner: Any, community: int) -> None:
    await rows(
        owner,
        "a",
        """
        INSERT INTO gateway (community_id, name, token_sha256)
        SELECT $1, 'gateway-' || n, sha256(n::text::bytea) FROM generate_series(1, 5) n
        """,
    )
    async with owner.transaction():
        await database.set_scope(owner, "identity")
        await owner.execute(
            "INSERT INTO message (channel, kind, recipient, language, dead_at)"
            " SELECT 'mail', 'x', 'a@a.example', 'en', now() FROM generate_series(1, 5)"
        )
        await database.set_scope(owner, "provision")
        await owner.execute("INSERT INTO community (name, title, time_zone) VALUES ('c', 'C', 'Europe/Madrid')")
    async with database.create_pool(filled.app, "test", 2) as pool:
        async with database.at_desk(pool) as connection:

            async def gateways(**options: Any) -> list[Any]:
                return await desk.gateways(connection, **options)

            async def communities(**options: Any) -> list[Any]:
                return await desk.communities(connection, **options)

            await check(gateways, "after", lambda item: (item.community, item.name))
            await check(communities, "after", lambda item: item.name)

        async def dead(**options: Any) -> list[Any]:
            return await messages.dead(pool, **options)

        await check(dead, "after", lambda item: item.id)
