"""Plates of a community that gates may confuse: they read alike, by the same rule as a decision takes a misread.

Nobody is kept from registering such a plate, whose car has no other; people are told, so that they know why a gate may
refuse or name the wrong car. Connections are inside ``database.in_community``.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from parkmesh.domain import plates
from parkmesh.server.db.database import Connection

# What the access list has or will have: decisions weigh plates that may not pass now as well.
_LISTED = """
    SELECT plate FROM credential WHERE community_id = $1 AND (valid_until IS NULL OR valid_until > now())
    UNION SELECT plate FROM bar WHERE community_id = $1 AND lifted_at IS NULL
"""


@dataclass(frozen=True, slots=True)
class Alike:
    """What a plate may be confused with: ``plates`` that read alike, and with ``same`` the same letters and digits of
    somebody of another unit (``B NO 1234`` and ``BN O 1234`` are one plate to a gate). Both name other people's
    plates: they are for staff."""

    plates: tuple[str, ...] = ()
    same: bool = False


async def to(connection: Connection, community_id: int, plate: str, unit_id: int | None) -> Alike:
    """Return what a normalised plate of a unit (None: of none) may be confused with."""
    same: bool = await connection.fetchval(
        """
        SELECT EXISTS (
            SELECT FROM credential c
            LEFT JOIN resident r ON r.community_id = c.community_id AND r.id = c.resident_id
            LEFT JOIN visitor_pass v ON v.community_id = c.community_id AND v.id = c.visitor_pass_id
            WHERE c.community_id = $1 AND c.plate = $2 AND (c.valid_until IS NULL OR c.valid_until > now())
              AND coalesce(r.unit_id, v.unit_id) IS DISTINCT FROM $3)
        """,
        community_id,
        plate,
        unit_id,
    )
    return Alike(await reading_as(connection, community_id, plate), same)


async def reading_as(connection: Connection, community_id: int, plate: str) -> tuple[str, ...]:
    """Return the other plates that read like a normalised one, in their order."""
    found = await connection.fetch(
        f"""
        SELECT plate FROM ({_LISTED}) l
        WHERE length(plate) = length($2) AND plate <> $2 AND translate(plate, $3, $4) = $5 ORDER BY plate
        """,  # noqa: S608 - text of this module
        community_id,
        plate,
        *plates.CONFUSED_WITH,
        plates.skeleton(plate),
    )
    return tuple(row["plate"] for row in found if _confused(plate, row["plate"]))


async def each(connection: Connection, community_id: int, wanted: Iterable[str]) -> dict[str, tuple[str, ...]]:
    """Return the other plates that read like each of many, without those that are like no other."""
    listed: dict[str, list[str]] = {}
    for row in await connection.fetch(f"{_LISTED} ORDER BY plate", community_id):
        listed.setdefault(plates.skeleton(row["plate"]), []).append(row["plate"])
    found = {
        plate: tuple(other for other in listed.get(plates.skeleton(plate), ()) if _confused(plate, other))
        for plate in wanted
    }
    return {plate: others for plate, others in found.items() if others}


def _confused(plate: str, other: str) -> bool:
    return other != plate and plates.fits(plate, other)
