"""Invented communities: a few that look real, for people who try the system out, and thousands for measurements.

Both go in as the application itself would write them, under row-level security. Nothing here is a real person.
"""

import asyncio
import hashlib
import json
import random
import secrets
import tempfile
import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import msgspec

from parkmesh import __version__
from parkmesh.protocol.edge import EventBatch, Passage, SpaceState, SpaceStatus, Times
from parkmesh.server.communities import desired, provision
from parkmesh.server.db import database
from parkmesh.server.edge import ingest

PEOPLE = {
    "desk@parkmesh.example": "the operator's desk: all communities",
    "admin@olivos.example": "administrator of Residencial Los Olivos",
    "ana@olivos.example": "resident there, unit 1A",
    "admin@puerto.example": "administrator of Edificio Puerto",
    "leo@puerto.example": "resident there, unit 3C",
}
LEVELS = {
    "olivos": {"P1": 24, "P2": 20},
    "puerto": {"P0": 16},
}
"""Spaces per level of each community."""

STATUSES: tuple[SpaceStatus, ...] = ("occupied", "free", "unknown")
BEAT_S = 30.0
_ROW = 8
_WIDTH, _LENGTH, _LANE = 2.5, 5.0, 6.0
_TITLES = {"olivos": "Residencial Los Olivos", "puerto": "Edificio Puerto"}
_RESIDENTS = {
    "olivos": [
        ("ana", "Ana Ruiz", "1A", "1234BCD"),
        ("luis", "Luis Gil", "2B", "5678FGH"),
        ("eva", "Eva Sanz", "3A", "9012JKL"),
    ],
    "puerto": [("leo", "Leo Mora", "3C", "3456MNP"), ("pau", "Pau Vidal", "4D", "7890RST")],
}


def document(password_file: str, tokens: dict[str, str]) -> dict[str, Any]:
    """Return the desired state of the sample, as ``parkmesh admin apply`` takes it."""
    users: list[dict[str, Any]] = [{"email": "desk@parkmesh.example", "name": "Desk", "role": "operator"}]
    communities = []
    for name, levels in LEVELS.items():
        people = _RESIDENTS[name]
        users += [
            {"email": f"admin@{name}.example", "name": "Administration", "role": "administrator", "community": name},
            {"email": f"{people[0][0]}@{name}.example", "name": people[0][1], "role": "resident", "community": name},
        ]
        communities.append(
            {
                "name": name,
                "title": _TITLES[name],
                "time_zone": "Europe/Madrid",
                "gates": [
                    {"name": "main-in", "title": "Main entry", "direction": "entry"},
                    {"name": "main-out", "title": "Main exit", "direction": "exit"},
                ],
                "spaces": [
                    {"name": f"{level.lower()}-{n:02}", "level": level, "category": _category(n)}
                    for level, count in levels.items()
                    for n in range(1, count + 1)
                ],
                "gateways": [
                    {
                        "name": f"gateway-{name}",
                        "token_sha256": hashlib.sha256(tokens[name].encode()).hexdigest(),
                    }
                ],
                "residents": [
                    {"email": f"{who}@{name}.example", "name": full, "unit": unit, "plates": [plate]}
                    for who, full, unit, plate in people
                ],
            }
        )
    return {"communities": communities, "users": [user | {"password_file": password_file} for user in users]}


def _category(n: int) -> str:
    return "visitor" if n % 10 == 0 else "shared" if n % 4 == 0 else "assigned"


def place(n: int) -> tuple[float, float, float, float, float]:
    """Return x, y, width, height (metres) and rotation of space ``n`` (from 1): rows of eight beside lanes."""
    row, column = divmod(n - 1, _ROW)
    lanes = (row + 1) // 2
    return column * _WIDTH, row * _LENGTH + lanes * _LANE, _WIDTH, _LENGTH, 0.0


def extent(count: int) -> tuple[float, float]:
    """Return width and height of the map of a level with ``count`` spaces (metres)."""
    _, y, _, height, _ = place(count)
    return _ROW * _WIDTH, y + height


async def fill(url: str, password: str) -> bool:
    """Fill an empty database with the sample, everybody's password ``password``; tell whether it was empty."""
    tokens = {name: secrets.token_urlsafe(32) for name in LEVELS}
    connection = await database.connect(url, "parkmesh/sample", 5)
    try:
        async with database.provisioning(connection):
            if await connection.fetchval("SELECT EXISTS (SELECT FROM community)"):
                return False
        with tempfile.TemporaryDirectory(prefix="parkmesh-sample-") as folder:
            file = Path(folder) / "password"
            file.touch(mode=0o600)
            file.write_text(password)
            await provision.apply(connection, desired.parse(json.dumps(document(str(file), tokens)).encode()))
        for name, levels in LEVELS.items():
            await _draw(connection, name, levels)
    finally:
        await connection.close()
    async with database.create_pool(url, "parkmesh/sample", 1) as pool:
        for name, token in tokens.items():
            await _live(pool, name, hashlib.sha256(token.encode()).digest())
    return True


async def _draw(connection: database.Connection, name: str, levels: dict[str, int]) -> None:
    """Put the spaces on the map, give some their unit, and let the people have been there for a while."""
    async with database.provisioning(connection):
        community_id = await connection.fetchval("SELECT id FROM community WHERE name = $1", name)
        await database.set_community(connection, community_id)
        for ordinal, (level, count) in enumerate(levels.items()):
            width, height = extent(count)
            await connection.execute(
                "UPDATE level SET ordinal = $3, width = $4, height = $5 WHERE community_id = $1 AND name = $2",
                community_id, level, -ordinal, width, height,
            )  # fmt: skip
            for n in range(1, count + 1):
                await connection.execute(
                    """
                    UPDATE space SET x = $3, y = $4, w = $5, h = $6, rotation = $7, ev = $8, accessible = $9
                    WHERE community_id = $1 AND name = $2
                    """,
                    community_id, f"{level.lower()}-{n:02}", *place(n), n % 7 == 0, n == 1,
                )  # fmt: skip
        await connection.execute(
            """
            INSERT INTO space_assignment (community_id, space_id, unit_id, starts_at)
            SELECT $1, s.id, u.id, date_trunc('day', now())
            FROM (SELECT id, row_number() OVER (ORDER BY id) AS n FROM unit WHERE community_id = $1) u
            JOIN (SELECT id, row_number() OVER (ORDER BY id) AS n FROM space
                  WHERE community_id = $1 AND category = 'assigned') s USING (n)
            """,
            community_id,
        )
        # The day that the gateway reports is theirs to see.
        for since in ("UPDATE resident SET unit_since", "UPDATE credential SET held_from"):
            await connection.execute(f"{since} = now() - interval '1 year' WHERE community_id = $1", community_id)


async def _live(pool: database.Pool, name: str, token: bytes) -> None:
    """Let the community's gateway report a day of passages and the state of its spaces."""
    source = random.Random(name)  # noqa: S311 - the same sample every time
    now = int(time.time() * 1000)
    cars = [(plate, "granted", "exact") for _, _, _, plate in _RESIDENTS[name]]
    cars.append(("0000XXX", "denied", "unknown_plate"))
    moments = sorted(now - source.randrange(24 * 3_600_000) for _ in range(24))
    inside: set[str] = set()
    async with database.acquired(pool) as connection, connection.transaction():
        await connection.execute("SELECT edge_identify($1)", token)
        listed = {row["plate"]: row["id"] for row in await connection.fetch("SELECT plate, id::text FROM credential")}
    events: list[Passage | SpaceState] = []
    for seq, at in enumerate(moments, 1):
        plate, decision, reason = source.choice(cars)
        leaves = plate in inside
        if decision == "granted":
            (inside.discard if leaves else inside.add)(plate)
        passage = {
            "type": "passage", "seq": seq, "times": {"received": at}, "plate": plate, "decision": decision,
            "gate": "main-out" if leaves else "main-in", "direction": "exit" if leaves else "entry",
            "reason": reason, "opened": True if decision == "granted" else None,
            "credential_id": listed.get(plate),
        }  # fmt: skip
        events.append(msgspec.convert(passage, Passage))
    spaces = [f"{level.lower()}-{n:02}" for level, count in LEVELS[name].items() for n in range(1, count + 1)]
    for seq, space in enumerate(spaces, len(events) + 1):
        status: SpaceStatus = source.choices(STATUSES, (5, 4, 1))[0]
        events.append(SpaceState(seq, Times(now), space, status))
    await ingest.store(pool, token, EventBatch(now, list(events)))
    await database.fetchrow(
        pool, "SELECT * FROM edge_heartbeat($1, $2, $3, $4, $5, $6)", token, now, __version__, 0, 0, []
    )


async def keep_alive(url: str) -> None:
    """Send the sample gateways' heartbeats until cancelled: without them the pages would say that they are offline."""
    async with database.create_pool(url, "parkmesh/sample", 1) as pool:
        while True:
            async with database.at_desk(pool) as connection:
                rows = await connection.fetch("SELECT id FROM community WHERE name = ANY($1)", list(LEVELS))
            for row in rows:
                async with database.in_community(pool, row["id"]) as connection:
                    await connection.execute(
                        """
                        UPDATE gateway g SET last_heartbeat_at = now(), version = $2, backlog = 0, clock_skew_ms = 0,
                                             access_list_version = c.access_list_version
                        FROM community c WHERE c.id = $1 AND g.community_id = $1 AND g.name = 'gateway-' || c.name
                        """,
                        row["id"],
                        f"{__version__} (simulated)",
                    )
                    await connection.execute("SELECT pg_notify('parkmesh_live', $1)", f"{row['id']}:g")
            await asyncio.sleep(BEAT_S)


# One community after the other, as its tenant: row-level security stays in force, and the work is PostgreSQL's alone.
_SEED = """
DO $seed$
DECLARE
    v_first integer := {first};
    v_last integer := {last};
    v_id bigint;
    v_gateway bigint;
BEGIN
    PERFORM set_config('parkmesh.scope', 'provision', true);
    FOR n IN v_first..v_last LOOP
        INSERT INTO community (name, title, time_zone)
            VALUES ('{prefix}' || lpad(n::text, 5, '0'), 'Sample community ' || n, 'Europe/Madrid')
            RETURNING id INTO v_id;
        PERFORM set_config('parkmesh.community', v_id::text, true);
        INSERT INTO gate (community_id, name, title, direction)
            VALUES (v_id, 'main-in', 'Main entry', 'entry'), (v_id, 'main-out', 'Main exit', 'exit');
        INSERT INTO gateway (community_id, name, token_sha256, last_heartbeat_at, last_events_at, version, backlog,
                             clock_skew_ms, access_list_version)
            VALUES (v_id, 'gateway', sha256(convert_to('{token}' || n, 'UTF8')), now(), now(), '{version}', n % 7,
                    n % 90, 1)
            RETURNING id INTO v_gateway;
        INSERT INTO level (community_id, name, width, height) VALUES (v_id, 'P1', 20, 400);
        INSERT INTO space (community_id, name, level, category, x, y, w, h, rotation)
            SELECT v_id, 'p1-' || lpad(s::text, 3, '0'), 'P1', 'assigned',
                   2.5 * ((s - 1) % 8), 8 * ((s - 1) / 8), 2.5, 5, 0
            FROM generate_series(1, {spaces}) s;
        INSERT INTO space_state (community_id, space_id, status, received_at, changed_at, gateway_id)
            SELECT v_id, s.id, CASE WHEN s.id % 2 = 0 THEN 'occupied' ELSE 'free' END, now(), now(), v_gateway
            FROM space s WHERE s.community_id = v_id;
        INSERT INTO unit (community_id, name) SELECT v_id, 'U' || u FROM generate_series(1, {units}) u;
        INSERT INTO resident (community_id, email, name, unit_id)
            SELECT v_id, 'resident' || u.id || '@sample.example', 'Resident ' || u.id, u.id
            FROM unit u WHERE u.community_id = v_id;
        INSERT INTO credential (community_id, plate, resident_id)
            SELECT v_id, lpad((r.id % 10000)::text, 4, '0') || 'BCD', r.id
            FROM resident r WHERE r.community_id = v_id;
        INSERT INTO passage (community_id, gateway_id, epoch, seq, received_at, gate, direction, plate, decision,
                             reason, opened, access_list_version, credential_id)
            SELECT v_id, v_gateway, 1, p, date_trunc('milliseconds', now()) - p * interval '7 min',
                   CASE WHEN p % 2 = 0 THEN 'main-in' ELSE 'main-out' END,
                   CASE WHEN p % 2 = 0 THEN 'entry' ELSE 'exit' END, lpad(p::text, 4, '0') || 'BCD', 'granted', 'exact',
                   true, 1,
                   (SELECT min(c.id)::text FROM credential c
                    WHERE c.community_id = v_id AND c.plate = lpad(p::text, 4, '0') || 'BCD')
            FROM generate_series(1, {passages}) p;
        UPDATE gateway SET epoch = 1, acked = {passages} WHERE community_id = v_id AND id = v_gateway;
    END LOOP;
END $seed$
"""
SEED_PREFIX = "sample-"
SEED_TOKEN = "sample gateway token "  # noqa: S105 - of invented gateways; see seed_token
SEED_CHUNK = 100


def seed_token(n: int) -> str:
    """Return the token of the gateway of seeded community ``n`` (from 1)."""
    return f"{SEED_TOKEN}{n}"


class NotEmptyError(Exception):
    """The database holds communities already."""


async def seed(
    connection: database.Connection,
    communities: int,
    *,
    spaces: int,
    units: int = 20,
    passages: int = 20,
    progress: Callable[[int], None] = lambda _: None,
) -> timedelta:
    """Fill an empty database with communities ``sample-00001``…, their places, people and passages, in steps that
    commit alone; ``progress`` hears how many are there.

    ``connection`` is the database's owner's or the application's. Returns the time it took; raises ``NotEmptyError``.
    """
    began = time.monotonic()
    async with database.provisioning(connection):
        if await connection.fetchval("SELECT EXISTS (SELECT FROM community)"):
            raise NotEmptyError("the database holds communities already: invented ones don't go among real ones")
    for start in range(1, 1 + communities, SEED_CHUNK):
        last = min(start + SEED_CHUNK, 1 + communities) - 1
        await connection.execute(
            _SEED.format(
                first=start, last=last, prefix=SEED_PREFIX, token=SEED_TOKEN, version=__version__, spaces=int(spaces),
                units=int(units), passages=int(passages),
            ),
            timeout=600,
        )  # fmt: skip
        progress(last)
    return timedelta(seconds=time.monotonic() - began)
