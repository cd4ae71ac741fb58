"""Plates of a community: the vehicles that residents register, and what staff revoke and restore.

A plate that staff revoked stays refused: a resident can neither remove nor add it. Nor can a resident add a plate that
another unit or its visitor holds: the passages by a plate are shown to its holder. Connections are inside
``database.in_community``. The access list's next version reaches the gateways by itself (triggers of the table tell
them).
"""

import dataclasses
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

import asyncpg

from parkmesh.domain import plates
from parkmesh.server import audit
from parkmesh.server.db.database import Connection
from parkmesh.server.http import problems
from parkmesh.server.http.messages import Message
from parkmesh.server.http.problems import Problem
from parkmesh.server.identity.principals import Principal

Status = Literal["active", "revoked"]


@dataclass(frozen=True, slots=True)
class Credential:
    """A plate that may pass, from ``valid_from`` until before ``valid_until``.

    ``resident`` and ``unit`` are names. With ``visitor`` it belongs to a visitor pass and changes with that pass.
    ``barred``: staff barred the plate, so no gate opens for it, whatever the status says.
    """

    id: int
    plate: str
    label: str
    status: Status
    resident_id: int | None
    resident: str | None
    unit_id: int | None
    unit: str | None
    visitor: bool
    valid_from: datetime | None
    valid_until: datetime | None
    barred: bool = False


_SELECT = """
    SELECT c.id, c.plate, c.label, c.status, c.resident_id, r.name AS resident, r.unit_id, u.name AS unit,
           c.visitor_pass_id IS NOT NULL AS visitor, c.valid_from, c.valid_until,
           EXISTS (SELECT FROM bar b
                   WHERE b.community_id = c.community_id AND b.plate = c.plate AND b.lifted_at IS NULL) AS barred
    FROM credential c
    LEFT JOIN resident r ON r.community_id = c.community_id AND r.id = c.resident_id
    LEFT JOIN unit u ON u.community_id = r.community_id AND u.id = r.unit_id
    WHERE c.community_id = $1
"""


async def page(
    connection: Connection,
    community_id: int,
    *,
    limit: int,
    after: tuple[str, int] | None = None,
    search: str = "",
    resident_id: int | None = None,
    unit_id: int | None = None,
    visitors: bool = True,
) -> list[Credential]:
    """Return credentials by plate. Where given, only those of one resident or unit, and those whose plate or holder
    contains ``search``; ``visitors`` tells whether visitors' credentials are included."""
    rows = await connection.fetch(
        f"""
        {_SELECT} AND ($2::text IS NULL OR (c.plate, c.id) > ($2, $3))
          AND ($4 = '' OR strpos(c.plate, $5) > 0
               OR strpos(lower(concat_ws(' ', r.name, u.name, c.label)), lower($4)) > 0)
          AND ($6::bigint IS NULL OR c.resident_id = $6) AND ($7::bigint IS NULL OR r.unit_id = $7)
          AND ($8 OR c.visitor_pass_id IS NULL)
        ORDER BY c.plate, c.id LIMIT $9
        """,
        community_id,
        *(after or (None, 0)),
        search,
        plates.normalise(search) or search,
        resident_id,
        unit_id,
        visitors,
        limit,
    )
    return [Credential(**row) for row in rows]


async def get(connection: Connection, community_id: int, credential_id: int, *, lock: bool = False) -> Credential:
    """Return a credential, locked for a change where asked; raise ``Problem`` 404."""
    if lock:
        await connection.execute(
            "SELECT FROM credential WHERE community_id = $1 AND id = $2 FOR UPDATE", community_id, credential_id
        )
    row = await connection.fetchrow(f"{_SELECT} AND c.id = $2", community_id, credential_id)
    if row is None:
        raise problems.not_found()
    return Credential(**row)


def spelled(text: str) -> str:
    """Return a plate as entered in the one normalised spelling; raise ``Problem`` 422 where the text is no plate."""
    plate = plates.normalise(text)
    if plate is None:
        raise Problem(422, "plate: not a licence plate (2 to 12 letters and digits)", kind="invalid")
    return plate


async def set_status(
    connection: Connection, principal: Principal, community_id: int, plate: str, status: Status
) -> bool:
    """Set the status of every credential of a plate; tell whether the community has one."""
    changed = await connection.fetch(
        "UPDATE credential SET status = $3 WHERE community_id = $1 AND plate = $2 AND status <> $3 RETURNING id",
        community_id,
        plate,
        status,
    )
    action = "credential.revoke" if status == "revoked" else "credential.restore"
    for row in changed:
        await _record(connection, principal, community_id, action, row["id"], plate)
    if changed:
        return True
    known: bool = await connection.fetchval(
        "SELECT EXISTS (SELECT FROM credential WHERE community_id = $1 AND plate = $2)", community_id, plate
    )
    return known


async def add(
    connection: Connection,
    principal: Principal,
    community_id: int,
    *,
    resident_id: int | None,
    plate: str,
    label: str,
    valid_from: datetime | None = None,
    valid_until: datetime | None = None,
    by_staff: bool,
) -> Credential:
    """Add a vehicle of a resident (None: of the community itself, by staff only).

    ``plate`` is normalised. Raises ``Problem`` 409 where the resident has the plate already, where the unit holds as
    many as it may, and where a resident may not have it; 422 for an unknown or inactive resident.
    """
    if resident_id is not None:
        await _make_room(connection, community_id, resident_id)
    await _lock_plate(connection, community_id, plate)
    if not by_staff:
        await _forbid_taking(connection, community_id, plate, resident_id)
    try:
        async with connection.transaction():
            credential_id: int = await connection.fetchval(
                """
                INSERT INTO credential (community_id, plate, resident_id, label, valid_from, valid_until)
                VALUES ($1, $2, $3, $4, $5, $6) RETURNING id
                """,
                community_id,
                plate,
                resident_id,
                label,
                valid_from,
                valid_until,
            )
    except asyncpg.UniqueViolationError:
        raise _held_already() from None
    except asyncpg.CheckViolationError:
        raise _empty_validity() from None
    await _record(connection, principal, community_id, "credential.create", credential_id, plate)
    return await get(connection, community_id, credential_id)


async def change(
    connection: Connection,
    principal: Principal,
    community_id: int,
    credential: Credential,
    changes: dict[str, Any],
    *,
    by_staff: bool,
) -> Credential:
    """Change ``plate``, ``label``, ``status``, ``valid_from`` or ``valid_until`` of a credential that is locked.

    A resident may change plate and label of a vehicle that is not revoked. Raises ``Problem`` 409 as ``add`` does, and
    for a visitor's plate.
    """
    wanted = dataclasses.replace(credential, **changes)
    if wanted == credential:
        return credential
    _forbid_visitors(credential)
    if not by_staff:
        _forbid_revoked(credential)
    if wanted.plate != credential.plate:
        await _lock_plate(connection, community_id, wanted.plate)
        if not by_staff:
            await _forbid_taking(connection, community_id, wanted.plate, credential.resident_id)
    if credential.status == "revoked" and wanted.status == "active" and credential.resident_id is not None:
        await _make_room(connection, community_id, credential.resident_id)
    try:
        async with connection.transaction():
            await connection.execute(
                """
                UPDATE credential SET plate = $3, label = $4, status = $5, valid_from = $6, valid_until = $7
                WHERE community_id = $1 AND id = $2
                """,
                community_id,
                credential.id,
                wanted.plate,
                wanted.label,
                wanted.status,
                wanted.valid_from,
                wanted.valid_until,
            )
    except asyncpg.UniqueViolationError:
        raise _held_already() from None
    except asyncpg.CheckViolationError:
        raise _empty_validity() from None
    action = "credential.change"
    if wanted.status != credential.status:
        action = "credential.revoke" if wanted.status == "revoked" else "credential.restore"
    await _record(connection, principal, community_id, action, credential.id, wanted.plate, changed=sorted(changes))
    return wanted


async def remove(
    connection: Connection, principal: Principal, community_id: int, credential: Credential, *, by_staff: bool
) -> None:
    """Remove a vehicle; raise ``Problem`` 409 where a resident would remove one that staff revoked."""
    _forbid_visitors(credential)
    if not by_staff:
        _forbid_revoked(credential)
    await connection.execute("DELETE FROM credential WHERE community_id = $1 AND id = $2", community_id, credential.id)
    await _record(connection, principal, community_id, "credential.delete", credential.id, credential.plate)


async def _record(
    connection: Connection,
    principal: Principal,
    community_id: int,
    action: str,
    credential_id: int,
    plate: str,
    **detail: Any,
) -> None:
    """The trail outlives the plate, which is personal data: it gets a form that tells two cars apart and no more."""
    detail = {"plate": plates.masked(plate), **detail}
    await audit.record(connection, principal, community_id, action, f"credential/{credential_id}", detail)


async def _make_room(connection: Connection, community_id: int, resident_id: int) -> None:
    """Lock the resident's unit and see that it may hold one more plate."""
    resident = await connection.fetchrow(
        "SELECT unit_id FROM resident WHERE community_id = $1 AND id = $2 AND active FOR SHARE",
        community_id,
        resident_id,
    )
    if resident is None:
        raise Problem(422, "resident_id: the community has no such resident, or they have left", kind="invalid")
    if resident["unit_id"] is None:
        return
    limit = await connection.fetchval(
        "SELECT plate_limit FROM unit WHERE community_id = $1 AND id = $2 FOR UPDATE", community_id, resident["unit_id"]
    )
    held = await connection.fetchval(
        """
        SELECT count(*) FROM credential c JOIN resident r ON r.community_id = c.community_id AND r.id = c.resident_id
        WHERE c.community_id = $1 AND r.unit_id = $2 AND c.status = 'active' AND c.visitor_pass_id IS NULL
        """,
        community_id,
        resident["unit_id"],
    )
    if held >= limit:
        text = Message("The unit has reached its limit of plates (%(limit)s).", limit=limit)
        raise Problem(409, text, kind="plate-limit", limit=limit)


async def _lock_plate(connection: Connection, community_id: int, plate: str) -> None:
    """Let two who add the same plate at once take turns."""
    await connection.execute(
        "SELECT pg_advisory_xact_lock(hashtextextended($1, 5))", f"credential/{community_id}/{plate}"
    )


async def _forbid_taking(connection: Connection, community_id: int, plate: str, resident_id: int | None) -> None:
    """Raise ``Problem`` 409 where a resident may not have a plate: revoked by staff, or held by another unit or by a
    visitor of one whose pass isn't over."""
    refused = await connection.fetchrow(
        """
        SELECT coalesce(bool_or(c.status = 'revoked'), false) AS revoked,
               coalesce(bool_or(c.resident_id IS DISTINCT FROM $3
                                AND (coalesce(r.unit_id, v.unit_id) IS NULL
                                     OR coalesce(r.unit_id, v.unit_id) IS DISTINCT FROM me.unit_id)), false) AS others
        FROM credential c
        LEFT JOIN resident r ON r.community_id = c.community_id AND r.id = c.resident_id
        LEFT JOIN visitor_pass v ON v.community_id = c.community_id AND v.id = c.visitor_pass_id
        LEFT JOIN resident me ON me.community_id = c.community_id AND me.id = $3
        WHERE c.community_id = $1 AND c.plate = $2
          AND (v.id IS NULL OR v.status = 'active' AND (v.ends_at > now() OR c.status = 'revoked'))
        """,
        community_id,
        plate,
        resident_id,
    )
    if refused["revoked"] or refused["others"]:
        raise Problem(
            409, "This plate can't be added here. Ask your community's administrators.", kind="plate-not-available"
        )


def _forbid_visitors(credential: Credential) -> None:
    if credential.visitor:
        raise Problem(409, "This plate belongs to a visitor pass; change the pass.", kind="visitor")


def _forbid_revoked(credential: Credential) -> None:
    if credential.status == "revoked":
        raise Problem(409, "Your administrators revoked this plate; only they can change it.", kind="revoked")


def _held_already() -> Problem:
    return Problem(409, "This plate is registered already.", kind="taken")


def _empty_validity() -> Problem:
    return Problem(422, "valid_until: not after valid_from", kind="invalid")
