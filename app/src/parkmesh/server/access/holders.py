"""Whose a plate is: the residents and visitors that hold it, and whose credential decided a passage. For staff."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from parkmesh.server.access.credentials import Status
from parkmesh.server.db.database import Connection


@dataclass(frozen=True, slots=True)
class Holder:
    """A credential and whose it is. ``resident`` holds it, or invited the visitor whose pass ``visitor_pass_id`` it is;
    ``visitor`` is the name on the pass. All are null for a plate of the community itself. ``credential`` is null for a
    pass whose QR code or PIN decided; ``plate`` is then empty if the pass has none."""

    credential: int | None
    plate: str
    label: str
    status: Status
    valid_from: datetime | None
    valid_until: datetime | None
    resident_id: int | None
    resident: str | None
    unit_id: int | None
    unit: str | None
    visitor_pass_id: int | None
    visitor: str | None


_SELECT = """
SELECT c.id AS credential, c.plate, c.label, c.status, c.valid_from, c.valid_until, r.id AS resident_id,
       r.name AS resident, u.id AS unit_id, u.name AS unit, v.id AS visitor_pass_id, v.name AS visitor
FROM credential c
LEFT JOIN visitor_pass v ON v.community_id = c.community_id AND v.id = c.visitor_pass_id
LEFT JOIN resident r ON r.community_id = c.community_id AND r.id = coalesce(c.resident_id, v.resident_id)
LEFT JOIN unit u ON u.community_id = c.community_id AND u.id = coalesce(v.unit_id, r.unit_id)
WHERE c.community_id = $1
"""

_BY_CODE = """
SELECT NULL::bigint AS credential, coalesce(v.plate, '') AS plate, '' AS label,
       CASE v.status WHEN 'active' THEN 'active' ELSE 'revoked' END AS status, v.starts_at AS valid_from,
       v.ends_at AS valid_until, r.id AS resident_id, r.name AS resident, u.id AS unit_id, u.name AS unit,
       v.id AS visitor_pass_id, v.name AS visitor
FROM visitor_pass v
LEFT JOIN resident r ON r.community_id = v.community_id AND r.id = v.resident_id
LEFT JOIN unit u ON u.community_id = v.community_id AND u.id = v.unit_id
WHERE v.community_id = $1 AND v.id = ANY($2)
"""
_CODE = re.compile(r"pass-([0-9]{1,18})")


async def of_plate(connection: Connection, community_id: int, plate: str, limit: int) -> list[Holder]:
    """Return who holds a normalised plate, the latest first, at most ``limit``."""
    rows = await connection.fetch(
        f"{_SELECT} AND c.plate = $2 ORDER BY c.status, c.id DESC LIMIT $3", community_id, plate, limit
    )
    return [Holder(**row) for row in rows]


async def of_credentials(
    connection: Connection, community_id: int, credentials: Iterable[str | None]
) -> dict[str | None, Holder]:
    """Return the holders of credentials, named as passages name them; those that are gone have none."""
    named = set(credentials)
    passes = [int(code[1]) for item in named if item and (code := _CODE.fullmatch(item))]
    by_code = await connection.fetch(_BY_CODE, community_id, passes) if passes else []
    ids = {int(item) for item in named if item and item.isascii() and item.isdigit() and len(item) <= 18}
    rows = await connection.fetch(f"{_SELECT} AND c.id = ANY($2)", community_id, list(ids)) if ids else []
    found: dict[str | None, Holder] = {str(row["credential"]): Holder(**row) for row in rows}
    return found | {f"pass-{row['visitor_pass_id']}": Holder(**row) for row in by_code}
