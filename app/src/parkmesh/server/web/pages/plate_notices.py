"""What a page says of a plate that it took although gates may confuse it with another.

The codes (``labels.ALSO``) name no plate: residents learn neither which other plate it is nor whose, and addresses end
up in logs. Staff see the others on the page of the plate.
"""

from parkmesh.server.access import alike
from parkmesh.server.db.database import Connection
from parkmesh.server.web.pages.visit import Visit


async def of(visit: Visit, connection: Connection, plate: str | None, unit_id: int | None) -> str:
    """Return the codes for a normalised plate of a unit (None: of none) that was just written, separated by commas."""
    if plate is None:
        return ""
    found = await alike.to(connection, visit.member.community_id, plate, unit_id)
    if not visit.staff:
        return "reads-alike" if found.plates else ""
    return ",".join(["reads-alike-which"] * bool(found.plates) + ["same-letters"] * found.same)


async def of_barred(visit: Visit, connection: Connection, plate: str) -> str:
    """Return the codes for a plate that staff just barred: the same letters are what the bar is for."""
    found = await alike.reading_as(connection, visit.member.community_id, plate)
    return "reads-alike-which" if found else ""
