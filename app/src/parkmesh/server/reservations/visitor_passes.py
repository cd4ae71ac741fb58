"""Visitor passes: a unit lets a visitor in for a while, and the visitor sees the pass without an account.

A pass with a plate is a credential that is valid for its time, so gates that are offline open for it too. The visitor's
link carries a token of which only the SHA-256 is stored; it begins with the community's number, so that the server
looks for the pass inside that community, as for everything else.

Connections are inside ``database.in_community``.
"""

import re
import secrets
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from ipaddress import IPv4Address, IPv6Address
from typing import Literal
from zoneinfo import ZoneInfo

from msgspec import Struct

from parkmesh.domain import plates
from parkmesh.domain.windows import Window
from parkmesh.server import audit
from parkmesh.server.access import gate_commands
from parkmesh.server.communities import community_reads, rules
from parkmesh.server.db import database, keyset
from parkmesh.server.db.database import Connection, Pool
from parkmesh.server.http import problems
from parkmesh.server.http.messages import Message
from parkmesh.server.http.problems import Problem
from parkmesh.server.identity import limits, principals
from parkmesh.server.identity.principals import Principal
from parkmesh.server.reservations import bookings, pass_codes, permits, states, visitor_nights
from parkmesh.server.reservations.pass_codes import VisitorCode
from parkmesh.server.spaces import spaces

MAX_DIRECTIONS = 2000
"""Characters that tell visitors the way."""
MAX_PLATE_ATTEMPTS = 3
"""How often a visitor may enter a plate. A refused plate counts too, against trying out plates."""
_TOKEN = re.compile(r"([0-9a-f]{1,15})-[A-Za-z0-9_-]{32}")
_VISITOR = audit.System("visitor")


class VisitorPass(Struct, frozen=True):
    """``space`` is what is booked for the visitor, if anything. ``resident`` is who invited the visitor, null where
    that was staff or the resident is gone."""

    id: int
    unit: str
    unit_id: int
    name: str | None
    plate: str | None
    from_: datetime
    until: datetime
    status: Literal["active", "cancelled"]
    space: str | None
    cancelled_at: datetime | None
    cancel_reason: str | None
    created_at: datetime
    resident_id: int | None
    resident: str | None


class Gate(Struct, frozen=True):
    name: str
    title: str
    direction: Literal["entry", "exit", "both"]


class Visit(Struct, frozen=True):
    """What a visitor sees of the pass: nothing about the unit visited, nothing about other people. ``may_open``: the
    link may open the gates now. ``code``: what the readers at the gates take, null where there are none."""

    community: str
    time_zone: str
    from_: datetime
    until: datetime
    status: Literal["upcoming", "open", "over", "cancelled"]
    plate: str | None
    plate_attempts_left: int
    space: str | None
    level: str | None
    gates: list[Gate]
    may_open: bool
    directions: str
    code: VisitorCode | None = None


class PlateRefused(Struct, frozen=True):
    """A visitor's plate was not taken; the attempt counts."""

    attempts_left: int


_SELECTED = """
    SELECT p.id, u.name AS unit, p.unit_id, p.name, p.plate, p.starts_at AS from_, p.ends_at AS until, p.status,
           (SELECT s.name FROM booking b JOIN space s ON s.community_id = b.community_id AND s.id = b.space_id
            WHERE b.community_id = p.community_id AND b.visitor_pass_id = p.id AND b.status = 'active') AS space,
           p.cancelled_at, p.cancel_reason, p.created_at, p.resident_id, r.name AS resident
    FROM visitor_pass p JOIN unit u ON u.community_id = p.community_id AND u.id = p.unit_id
    LEFT JOIN resident r ON r.community_id = p.community_id AND r.id = p.resident_id
    WHERE p.community_id = $1
"""


async def page(
    connection: Connection,
    community_id: int,
    *,
    limit: int,
    after: tuple[datetime, int] | None = None,
    way: keyset.Way = keyset.ON,
    unit_id: int | None = None,
    ends_after: datetime | None = None,
    starts_before: datetime | None = None,
    resident_id: int | None = None,
    search: str = "",
    state: states.State | None = None,
    now: datetime | None = None,
) -> list[VisitorPass]:
    """Return passes, latest first, of one unit or resident only where given; ``after`` is ``(from_, id)`` of the last
    before. ``search`` is a text in the names of visitor, unit or space, of who invited (where all units are asked for),
    or a part of the plate; ``state`` is that of ``now``."""
    rows = await connection.fetch(
        f"""
        {_SELECTED} AND ($2::timestamptz IS NULL OR (p.starts_at, p.id) {way.below} ($2, $3))
          AND ($4::bigint IS NULL OR p.unit_id = $4) AND ($5::timestamptz IS NULL OR p.ends_at > $5)
          AND ($6::timestamptz IS NULL OR p.starts_at < $6)
          AND ($8::bigint IS NULL OR p.resident_id = $8)
          AND ($9 = '' OR strpos(p.plate, $10) > 0
               OR strpos(lower(concat_ws(' ', p.name, u.name, CASE WHEN $4 IS NULL THEN r.name END)), lower($9)) > 0
               OR EXISTS (SELECT FROM booking b JOIN space s ON s.community_id = b.community_id AND s.id = b.space_id
                          WHERE b.community_id = p.community_id AND b.visitor_pass_id = p.id
                            AND strpos(s.name, lower($9)) > 0))
          AND {states.in_state("p", 11)}
        ORDER BY p.starts_at {way.down}, p.id {way.down} LIMIT $7
        """,
        community_id,
        *(after or (None, 0)),
        unit_id,
        ends_after,
        starts_before,
        limit,
        resident_id,
        search,
        plates.normalise(search) or search.upper(),
        state,
        now,
    )
    return [VisitorPass(**row) for row in rows]


async def get(
    connection: Connection, community_id: int, pass_id: int, *, unit_id: int | None = None, for_change: bool = False
) -> VisitorPass:
    """Return a pass, of ``unit_id`` only where given, held where it is to be changed; raise ``Problem`` 404."""
    row = await connection.fetchrow(
        f"{_SELECTED} AND p.id = $2 AND ($3::bigint IS NULL OR p.unit_id = $3)"
        f"{' FOR NO KEY UPDATE OF p' if for_change else ''}",
        community_id,
        pass_id,
        unit_id,
    )
    if row is None:
        raise problems.not_found()
    return VisitorPass(**row)


@dataclass(frozen=True, slots=True)
class Quota:
    """A unit has used ``used`` of ``limit`` passes in the month that begins on ``month``."""

    month: date
    used: int
    limit: int


async def quota(connection: Connection, community_id: int, unit_id: int, moment: datetime) -> Quota:
    """Return a unit's quota for the month of ``moment`` by the community's clock.

    A pass counts in the month that it begins in. One that was cancelled before it began doesn't count.
    """
    zone = await connection.fetchval("SELECT time_zone FROM community WHERE id = $1", community_id)
    month = moment.astimezone(ZoneInfo(zone)).date().replace(day=1)
    used: int = await connection.fetchval(
        """
        SELECT count(*) FROM visitor_pass
        WHERE community_id = $1 AND unit_id = $2 AND month = $3 AND (status = 'active' OR cancelled_at >= starts_at)
        """,
        community_id,
        unit_id,
        month,
    )
    allowed = await rules.read(connection, community_id)
    return Quota(month, used, allowed.visitor_passes_per_unit)


async def create(
    connection: Connection,
    principal: Principal,
    community_id: int,
    *,
    unit_id: int,
    resident_id: int | None,
    window: Window,
    name: str | None,
    plate: str | None,
    space: str | None,
    now: datetime,
    permit_seen: bool = False,
) -> tuple[VisitorPass, str]:
    """Make a pass, with a visitors' space booked for it where ``space`` names one; return it and its link's token.

    ``plate`` is normalised. ``permit_seen``: staff make it, who know of the visitor's permit what the application
    doesn't. Raises ``Problem``: 422 ``outside-rules``, 409 ``quota``, 409 ``nights``, 409 ``plate`` for one that may
    not pass, 404 and 409 ``category``, ``permit`` or ``overlap`` for the space.
    """
    allowed = await rules.read(connection, community_id)
    bookings.check_begin(window, allowed, now, await community_reads.zone(connection, community_id))
    hours = allowed.visitor_pass_max_hours
    if window.length > timedelta(hours=hours):
        raise bookings.outside_rules(
            Message("A pass lasts %(hours)s hours at most.", hours=hours), rule="visitor_pass_max_hours", limit=hours
        )
    await bookings.hold_unit(connection, community_id, unit_id)
    month = await quota(connection, community_id, unit_id, window.start)
    if month.used >= month.limit:
        raise Problem(
            409,
            Message("A unit may have %(limit)s passes a month.", limit=month.limit),
            kind="quota",
            rule="visitor_passes_per_unit",
            limit=month.limit,
        )
    await _check_plate(connection, community_id, plate)
    await visitor_nights.check(connection, community_id, unit_id, plate, window, now)
    token = _new_token(community_id)
    pass_id: int = await connection.fetchval(
        """
        INSERT INTO visitor_pass (community_id, unit_id, resident_id, name, plate, starts_at, ends_at, month,
                                  token_sha256)
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9) RETURNING id
        """,
        community_id,
        unit_id,
        resident_id,
        name,
        plate,
        window.start,
        window.end,
        month.month,
        principals.digest(token),
    )
    if space is not None:
        held = await spaces.lock(connection, community_id, space)
        if held.category != "visitor":
            raise Problem(409, "Only a visitors' space can be booked with a pass.", kind="category")
        if held.accessible and not permit_seen:
            await permits.check(connection, community_id, unit_id, window.end)
        await bookings.place(
            connection,
            principal,
            community_id,
            held,
            unit_id=unit_id,
            resident_id=resident_id,
            window=window,
            visitor_pass=pass_id,
        )
    await _set_credential(connection, community_id, pass_id)
    await pass_codes.renew(connection, community_id, pass_id)
    detail = {"unit": unit_id, "from": window.start.isoformat(), "until": window.end.isoformat()}
    await audit.record(connection, principal, community_id, "visitor-pass.create", f"visitor-pass/{pass_id}", detail)
    return await get(connection, community_id, pass_id), token


async def change(
    connection: Connection,
    principal: Principal,
    community_id: int,
    seen: VisitorPass,
    name: str | None,
    plate: str | None,
    now: datetime,
) -> VisitorPass:
    """Change name and plate of a pass that is held; raise ``Problem`` 409 where it is over, cancelled, or the plate may
    not pass, and where staff revoked the plate that it has."""
    _check_open(seen, now)
    if plate != seen.plate:
        if await _revoked(connection, community_id, seen.id):
            raise Problem(409, "Your administrators revoked this plate; only they can change it.", kind="revoked")
        await _check_plate(connection, community_id, plate)
        await bookings.hold_unit(connection, community_id, seen.unit_id)
        window = Window(seen.from_, seen.until)
        await visitor_nights.check(connection, community_id, seen.unit_id, plate, window, now, pass_id=seen.id)
    await connection.execute(
        "UPDATE visitor_pass SET name = $3, plate = $4 WHERE community_id = $1 AND id = $2",
        community_id,
        seen.id,
        name,
        plate,
    )
    await _set_credential(connection, community_id, seen.id)
    await audit.record(connection, principal, community_id, "visitor-pass.change", f"visitor-pass/{seen.id}")
    return await get(connection, community_id, seen.id)


async def new_link(
    connection: Connection, principal: Principal, community_id: int, seen: VisitorPass, now: datetime
) -> str:
    """Return the token of a new link for a pass that is held; the one before leads nowhere any more, and the code that
    it showed opens nothing."""
    _check_open(seen, now)
    token = _new_token(community_id)
    await connection.execute(
        "UPDATE visitor_pass SET token_sha256 = $3 WHERE community_id = $1 AND id = $2",
        community_id,
        seen.id,
        principals.digest(token),
    )
    await pass_codes.renew(connection, community_id, seen.id)
    await audit.record(connection, principal, community_id, "visitor-pass.link", f"visitor-pass/{seen.id}")
    return token


async def cancel(
    connection: Connection,
    principal: Principal,
    community_id: int,
    seen: VisitorPass,
    reason: str | None,
    now: datetime,
) -> VisitorPass:
    """Cancel a pass that is held, with its booking; gates that are online know within seconds. Raises ``Problem`` 409
    where it is over."""
    if seen.status == "cancelled":
        return seen
    _check_open(seen, now)
    await connection.execute(
        """
        UPDATE visitor_pass SET status = 'cancelled', cancelled_at = $3, cancel_reason = $4
        WHERE community_id = $1 AND id = $2
        """,
        community_id,
        seen.id,
        now,
        reason,
    )
    booked = await connection.fetch(
        """
        SELECT id FROM booking
        WHERE community_id = $1 AND visitor_pass_id = $2 AND status = 'active' AND ends_at > $3
        """,
        community_id,
        seen.id,
        now,
    )
    for row in booked:
        booking = await bookings.get(connection, community_id, row["id"], for_change=True)
        await bookings.cancel(connection, principal, community_id, booking, reason, now)
    await connection.execute(
        "UPDATE credential SET status = 'revoked' WHERE community_id = $1 AND visitor_pass_id = $2",
        community_id,
        seen.id,
    )
    detail = {"reason": reason} if reason else {}
    await audit.record(connection, principal, community_id, "visitor-pass.cancel", f"visitor-pass/{seen.id}", detail)
    return await get(connection, community_id, seen.id)


def community_of(token: str) -> int | None:
    """Return the number of the community that a link's token names; None where it can be no token."""
    form = _TOKEN.fullmatch(token)
    return int(form[1], 16) if form else None


async def enter(pool: Pool, token: str, address: IPv4Address | IPv6Address) -> int:
    """Return the community in which a link's token is looked for, and count the attempt until ``entered``.

    Raises ``Problem`` 429 where a client tries too many links, 404 for a text that can't be a token.
    """
    await limits.reserve(pool, principals.digest(f"visit:{token}"), address)
    community_id = community_of(token)
    if community_id is None:
        raise problems.not_found()
    return community_id


async def entered(pool: Pool, token: str, address: IPv4Address | IPv6Address) -> None:
    """Count the attempts with a token no more: its link leads somewhere."""
    async with database.in_identity(pool) as connection:
        await limits.forget(connection, principals.digest(f"visit:{token}"), address)


async def visit(connection: Connection, community_id: int, token: str, now: datetime) -> Visit | None:
    """Return what a visitor sees by a link; None where it leads to no pass."""
    row = await connection.fetchrow(
        """
        SELECT p.id, p.status, p.plate, p.plate_attempts, p.starts_at, p.ends_at, c.title, c.time_zone
        FROM visitor_pass p JOIN community c ON c.id = p.community_id
        WHERE p.community_id = $1 AND p.token_sha256 = $2 AND c.offboarded_at IS NULL
        """,
        community_id,
        principals.digest(token),
    )
    if row is None:
        return None
    known = await connection.fetch(
        "SELECT name, title, direction FROM gate WHERE community_id = $1 ORDER BY direction, title", community_id
    )
    booked = await connection.fetchrow(
        """
        SELECT s.name, s.level FROM booking b JOIN space s ON s.community_id = b.community_id AND s.id = b.space_id
        WHERE b.community_id = $1 AND b.visitor_pass_id = $2 AND b.status = 'active'
        """,
        community_id,
        row["id"],
    )
    status = states.state_of(row["status"], row["starts_at"], row["ends_at"], now)
    usable = status in ("open", "upcoming") and not await _refused(connection, community_id, row["id"], row["plate"])
    return Visit(
        community=row["title"],
        time_zone=row["time_zone"],
        from_=row["starts_at"],
        until=row["ends_at"],
        status=status,
        plate=row["plate"],
        plate_attempts_left=max(0, MAX_PLATE_ATTEMPTS - row["plate_attempts"]),
        space=booked and booked["name"],
        level=booked and booked["level"],
        gates=[Gate(**gate) for gate in known],
        may_open=status == "open" and usable and (await rules.read(connection, community_id)).visitors_open_gates,
        directions=await directions(connection, community_id),
        code=await pass_codes.of_pass(connection, community_id, row["id"]) if usable else None,
    )


async def say_plate(
    connection: Connection, community_id: int, token: str, plate: str, now: datetime
) -> Visit | PlateRefused | None:
    """Take the plate that a visitor enters by the link; return what the visitor sees then, None where the link leads to
    no pass.

    A plate that may not pass is refused in a way that says nothing about it, and the attempt counts: let the
    transaction commit. Raises ``Problem`` 409 where the pass is over or cancelled, or no attempt is left.
    """
    row = await connection.fetchrow(
        """
        SELECT p.id, p.unit_id, p.plate, p.plate_attempts, p.status, p.starts_at, p.ends_at
        FROM visitor_pass p JOIN community c ON c.id = p.community_id
        WHERE p.community_id = $1 AND p.token_sha256 = $2 AND c.offboarded_at IS NULL FOR NO KEY UPDATE OF p
        """,
        community_id,
        principals.digest(token),
    )
    if row is None:
        return None
    if states.state_of(row["status"], row["starts_at"], row["ends_at"], now) in ("over", "cancelled"):
        raise Problem(409, "The pass is over.", kind="over")
    if row["plate"] != plate:
        left = MAX_PLATE_ATTEMPTS - row["plate_attempts"]
        if left <= 0:
            raise Problem(409, "The plate can't be changed any more. Ask the person who invited you.", kind="too-many")
        await connection.execute(
            "UPDATE visitor_pass SET plate_attempts = plate_attempts + 1 WHERE community_id = $1 AND id = $2",
            community_id,
            row["id"],
        )
        if await _revoked(connection, community_id, row["id"]) or not await _may_pass(connection, community_id, plate):
            return PlateRefused(left - 1)
        await bookings.hold_unit(connection, community_id, row["unit_id"])
        window = Window(row["starts_at"], row["ends_at"])
        if await visitor_nights.excess(connection, community_id, row["unit_id"], plate, window, now, row["id"]):
            return PlateRefused(left - 1)
        await connection.execute(
            "UPDATE visitor_pass SET plate = $3 WHERE community_id = $1 AND id = $2", community_id, row["id"], plate
        )
        await _set_credential(connection, community_id, row["id"])
        await audit.record(connection, _VISITOR, community_id, "visitor-pass.plate", f"visitor-pass/{row['id']}")
    return await visit(connection, community_id, token, now)


async def pass_of(connection: Connection, community_id: int, token: str) -> int | None:
    """Return the id of the pass that a link opens; None where it opens none."""
    found: int | None = await connection.fetchval(
        "SELECT id FROM visitor_pass WHERE community_id = $1 AND token_sha256 = $2",
        community_id,
        principals.digest(token),
    )
    return found


async def open_gate(
    connection: Connection, community_id: int, token: str, gate: str, now: datetime
) -> gate_commands.GateCommand | None:
    """Send the command to open a gate for a visitor with a link; return None where the link opens no pass.

    The command may be ``refused``; the caller says so after the transaction. Raises ``Problem`` 409 where the pass
    isn't valid now or staff revoked its plate, and as ``gate_commands.open_gate_for_visitor`` does.
    """
    row = await connection.fetchrow(
        """
        SELECT p.id, p.status, p.plate, p.starts_at, p.ends_at
        FROM visitor_pass p JOIN community c ON c.id = p.community_id
        WHERE p.community_id = $1 AND p.token_sha256 = $2 AND c.offboarded_at IS NULL
        """,
        community_id,
        principals.digest(token),
    )
    if row is None:
        return None
    if states.state_of(row["status"], row["starts_at"], row["ends_at"], now) != "open":
        raise Problem(409, "The pass is not valid now.", kind="not-now")
    if await _refused(connection, community_id, row["id"], row["plate"]):
        raise Problem(409, "This pass opens no gate. Ask who invited you.", kind="revoked")
    return await gate_commands.open_gate_for_visitor(connection, community_id, gate, row["id"])


async def directions(connection: Connection, community_id: int) -> str:
    """Return what the community tells visitors about finding their way."""
    text: str | None = await connection.fetchval(
        "SELECT directions FROM visitor_directions WHERE community_id = $1", community_id
    )
    return text or ""


async def lock_directions(connection: Connection, community_id: int) -> str:
    """Return the same, and keep others from changing it until the transaction ends."""
    # There may be no row to hold yet: the community's own stands for it.
    await connection.execute("SELECT FROM community WHERE id = $1 FOR NO KEY UPDATE", community_id)
    return await directions(connection, community_id)


async def set_directions(connection: Connection, principal: Principal, community_id: int, text: str) -> None:
    """Set what the community tells visitors."""
    await connection.execute(
        """
        INSERT INTO visitor_directions (community_id, directions) VALUES ($1, $2)
        ON CONFLICT (community_id) DO UPDATE SET directions = excluded.directions
        """,
        community_id,
        text,
    )
    await audit.record(connection, principal, community_id, "visitor-directions.change", "visitor-directions")


def _check_open(seen: VisitorPass, now: datetime) -> None:
    if seen.status == "cancelled" or seen.until <= now:
        raise Problem(409, "The pass is over.", kind="over")


async def _check_plate(connection: Connection, community_id: int, plate: str | None) -> None:
    if plate is not None and not await _may_pass(connection, community_id, plate):
        raise Problem(409, "This plate can't have a pass. Ask the community's administrators.", kind="plate")


async def _may_pass(connection: Connection, community_id: int, plate: str) -> bool:
    """Tell whether a plate may come in by a pass: not if the community revoked it, for whichever holder."""
    # The credential of a pass that was cancelled is revoked too, although staff did not revoke its plate.
    may: bool = await connection.fetchval(
        """
        SELECT NOT coalesce(bool_or(c.status = 'revoked') AND NOT bool_or(c.status = 'active'), false)
        FROM credential c LEFT JOIN visitor_pass p ON p.community_id = c.community_id AND p.id = c.visitor_pass_id
        WHERE c.community_id = $1 AND c.plate = $2 AND (p.id IS NULL OR p.status = 'active')
        """,
        community_id,
        plate,
    )
    return may


async def _revoked(connection: Connection, community_id: int, pass_id: int) -> bool:
    """Tell whether staff revoked the plate of a pass that wasn't cancelled."""
    revoked: bool = await connection.fetchval(
        """
        SELECT EXISTS (SELECT FROM credential
                       WHERE community_id = $1 AND visitor_pass_id = $2 AND status = 'revoked')
        """,
        community_id,
        pass_id,
    )
    return revoked


async def _refused(connection: Connection, community_id: int, pass_id: int, plate: str | None) -> bool:
    """Tell whether staff revoked the plate of a pass, for this pass or for all who hold it."""
    if await _revoked(connection, community_id, pass_id):
        return True
    return plate is not None and not await _may_pass(connection, community_id, plate)


async def _set_credential(connection: Connection, community_id: int, pass_id: int) -> None:
    """Let the gates know a pass as it is: its credential follows its plate."""
    await connection.execute(
        """
        UPDATE credential c SET plate = p.plate FROM visitor_pass p
        WHERE c.community_id = $1 AND c.visitor_pass_id = $2 AND p.community_id = $1 AND p.id = $2
          AND p.plate IS NOT NULL AND c.plate <> p.plate
        """,
        community_id,
        pass_id,
    )
    await connection.execute(
        """
        DELETE FROM credential c USING visitor_pass p
        WHERE c.community_id = $1 AND c.visitor_pass_id = $2 AND p.community_id = $1 AND p.id = $2 AND p.plate IS NULL
        """,
        community_id,
        pass_id,
    )
    await connection.execute(
        """
        INSERT INTO credential (community_id, plate, visitor_pass_id, valid_from, valid_until)
        SELECT p.community_id, p.plate, p.id, p.starts_at, p.ends_at FROM visitor_pass p
        WHERE p.community_id = $1 AND p.id = $2 AND p.plate IS NOT NULL
          AND NOT EXISTS (SELECT FROM credential c WHERE c.community_id = $1 AND c.visitor_pass_id = $2)
        """,
        community_id,
        pass_id,
    )


def _new_token(community_id: int) -> str:
    return f"{community_id:x}-{secrets.token_urlsafe(24)}"
