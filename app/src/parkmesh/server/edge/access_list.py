"""A community's access list as a gateway takes it: full, or what changed since the version that it holds."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from parkmesh.domain.community_rules import GateRules
from parkmesh.protocol.edge import AccessEntry, AccessList, FormerKey, PassCode, PassCodes, PresenceUpdate
from parkmesh.server.communities import rules
from parkmesh.server.db.database import Connection

_ENTRIES = """
SELECT c.id, c.plate,
       CASE WHEN EXISTS (SELECT FROM bar b
                         WHERE b.community_id = c.community_id AND b.plate = c.plate AND b.lifted_at IS NULL)
            THEN 'revoked' ELSE c.status END AS status,
       c.valid_from, c.valid_until, u.id AS unit, u.lots
FROM credential c
LEFT JOIN resident r ON r.community_id = c.community_id AND r.id = c.resident_id
LEFT JOIN visitor_pass v ON v.community_id = c.community_id AND v.id = c.visitor_pass_id
LEFT JOIN unit u ON u.community_id = c.community_id AND u.id = coalesce(r.unit_id, v.unit_id)
WHERE c.community_id = $1 AND ($2::bigint[] IS NULL OR c.id = ANY($2))
UNION ALL
SELECT -b.id, b.plate, 'revoked', NULL, NULL, NULL, NULL FROM bar b
WHERE b.community_id = $1 AND b.lifted_at IS NULL AND ($2::bigint[] IS NULL OR -b.id = ANY($2))
ORDER BY 1
"""
_CHANGED = "SELECT DISTINCT credential_id FROM access_list_change WHERE community_id = $1 AND version > $2"
_PRESENCE = """
SELECT p.plate, p.inside, p.at FROM presence p
WHERE p.community_id = $1 AND ($2::bigint IS NULL OR p.plate IN (
    SELECT k.plate FROM presence_correction k WHERE k.community_id = $1 AND k.access_list_version > $2))
  AND ($3::bigint IS NULL OR p.gateway_id <> $3)
"""
# Of passes that are over nothing is told: the code itself says when it ends.
_CODES = """
SELECT c.visitor_pass_id, c.number, c.pin, c.key, c.used, c.used_at, p.starts_at, p.ends_at,
       p.status = 'active' AND NOT EXISTS (
           SELECT FROM credential d
           WHERE d.community_id = c.community_id AND d.visitor_pass_id = p.id AND d.status = 'revoked') AND NOT EXISTS (
           SELECT FROM bar b
           WHERE b.community_id = c.community_id AND b.plate = p.plate AND b.lifted_at IS NULL) AS valid
FROM pass_code c JOIN visitor_pass p ON p.community_id = c.community_id AND p.id = c.visitor_pass_id
WHERE c.community_id = $1 AND p.ends_at > now() ORDER BY c.visitor_pass_id
"""
_KEY = """
SELECT k.signing, k.number FROM pass_key k JOIN community_rules r ON r.community_id = k.community_id AND r.visitor_codes
WHERE k.community_id = $1
"""
_FORMER = "SELECT number, signing FROM former_pass_key WHERE community_id = $1 AND number = ANY($2) ORDER BY number"


async def read(
    connection: Connection,
    community_id: int,
    held: int,
    epoch: int | None = None,
    *,
    with_rules: bool = False,
    with_codes: bool = False,
    with_codes_2: bool = False,
) -> AccessList:
    """Return the list for a gateway that holds version ``held`` (0: none) of ``epoch`` (None: it knows of no epochs).

    The connection is in a transaction that sees one state of the database. The list is full where the difference can't
    be told: the version belongs to another epoch, is ahead of the community's (a restored database), or so old that the
    changes since are forgotten. ``with_rules``, ``with_codes`` and ``with_codes_2`` add what the features ``rules``,
    ``codes`` and ``codes-2`` ask for.
    """
    now = await connection.fetchrow(
        "SELECT access_list_version, access_list_epoch, access_list_floor FROM community WHERE id = $1", community_id
    )
    version: int = now["access_list_version"]
    known = epoch is None or epoch == now["access_list_epoch"]
    full = not (known and 0 < held <= version and held >= now["access_list_floor"])
    changed = None if full else [row[0] for row in await connection.fetch(_CHANGED, community_id, held)]
    rows = [] if changed == [] else await connection.fetch(_ENTRIES, community_id, changed)
    removed = sorted(set(changed or ()) - {row["id"] for row in rows})
    return AccessList(
        version=version,
        full=full,
        entries=[entry(row, with_unit=with_rules) for row in rows],
        removed=[str(item) for item in removed],
        epoch=0 if epoch is None else now["access_list_epoch"],
        rules=await gate_rules(connection, community_id) if with_rules else None,
        presence=await presence(connection, community_id, None if full else held) if with_rules else [],
        codes=await codes(connection, community_id, later=with_codes_2) if with_codes else None,
    )


async def entries(connection: Connection, community_id: int) -> list[AccessEntry]:
    """Return the whole list with units, as its gateways hold it."""
    return [entry(row, with_unit=True) for row in await connection.fetch(_ENTRIES, community_id, None)]


async def gate_rules(connection: Connection, community_id: int) -> GateRules:
    """Return those of the community's rules that act at its gates."""
    found = await rules.read(connection, community_id)
    return GateRules(**{name: getattr(found, name) for name in GateRules.__struct_fields__})


async def codes(connection: Connection, community_id: int, *, later: bool) -> PassCodes:
    """Return what gateways need to check the codes of visitor passes; nothing where the community uses none. Without
    ``later`` it is what gateways of the first release with codes know: they refuse a list with more, and so would go on
    with an old one. Codes of former keys open nothing there."""
    present = await connection.fetchrow(_KEY, community_id)
    if present is None:
        return PassCodes()
    rows: Sequence[Any] = await connection.fetch(_CODES, community_id)
    if not later:
        rows = [row for row in rows if row["key"] == present["number"]]
    signed = {row["key"] for row in rows} - {present["number"]}
    former: Sequence[Any] = await connection.fetch(_FORMER, community_id, sorted(signed)) if signed else []
    return PassCodes(
        present["signing"].hex(),
        [
            PassCode(
                visitor_pass=row["visitor_pass_id"],
                number=row["number"],
                pin=row["pin"],
                valid_from=_moment(row["starts_at"]),
                valid_until=_moment(row["ends_at"]),
                status="active" if row["valid"] else "revoked",
                used=row["used"] if later else None,
                used_at=(_millis(row["used_at"]) or 0) if later else 0,
                key=0 if row["key"] == present["number"] else row["key"],
            )
            for row in rows
        ],
        [FormerKey(row["number"], row["signing"].hex()) for row in former],
    )


async def presence(
    connection: Connection, community_id: int, since: int | None = None, *, by_others_than: int | None = None
) -> list[PresenceUpdate]:
    """Return where plates are: all that is known, or those that were corrected since a version of the list; those on
    which others than a gateway had the last word, where one is given."""
    rows: Sequence[Any] = await connection.fetch(_PRESENCE, community_id, since, by_others_than)
    return [PresenceUpdate(row["plate"], row["inside"], int(row["at"].timestamp() * 1000)) for row in rows]


def entry(row: Any, *, with_unit: bool) -> AccessEntry:
    """Return a row of the list's query as an entry."""
    return AccessEntry(
        credential_id=str(row["id"]),
        plate=row["plate"],
        status=row["status"],
        valid_from=_millis(row["valid_from"]),
        valid_until=_millis(row["valid_until"]),
        unit=str(row["unit"]) if with_unit and row["unit"] is not None else None,
        lots=row["lots"] if with_unit else None,
    )


def _millis(moment: datetime | None) -> int | None:
    return None if moment is None else _moment(moment)


def _moment(moment: datetime) -> int:
    return int(moment.timestamp() * 1000)
