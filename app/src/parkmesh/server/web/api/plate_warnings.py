"""What the API says of a plate that it took although gates may confuse it with another."""

from typing import Annotated, Literal

from pydantic import BaseModel, Field

from parkmesh.server.access import alike
from parkmesh.server.db.database import Connection
from parkmesh.server.identity.principals import Membership, Role


class PlateWarning(BaseModel):
    """Why gates may confuse a plate with another. Residents learn neither which nor whose it is."""

    kind: Literal["reads-alike", "same-letters"] = Field(
        description="`reads-alike`: another plate of the community differs only in what cameras confuse. "
        "`same-letters`: another unit has the same letters and digits; told to staff only."
    )
    detail: str = Field(description="The same in words.")
    plates: list[str] = Field(description="The plates that read alike. For staff, empty for residents.")


Warnings = Annotated[
    list[PlateWarning] | None,
    Field(description="What to know of the plate, which was taken. Null where the answer is given again."),
]


async def of(connection: Connection, member: Membership, plate: str | None, unit_id: int | None) -> list[PlateWarning]:
    """Return the warnings on a normalised plate of a unit (None: of none) that was just written."""
    if plate is None:
        return []
    found = await alike.to(connection, member.community_id, plate, unit_id)
    if member.role is Role.RESIDENT:
        return [_reads_alike([])] if found.plates else []
    return ([_reads_alike(list(found.plates))] if found.plates else []) + ([_SAME] if found.same else [])


async def of_barred(connection: Connection, member: Membership, plate: str) -> list[PlateWarning]:
    """Return the warnings on a plate that staff just barred: the same letters are what the bar is for."""
    found = await alike.reading_as(connection, member.community_id, plate)
    return [_reads_alike(list(found))] if found else []


def _reads_alike(plates: list[str]) -> PlateWarning:
    return PlateWarning(
        kind="reads-alike", detail="Another plate of the community reads alike. Gates may confuse them.", plates=plates
    )


_SAME = PlateWarning(
    kind="same-letters",
    detail="Another unit has a plate of the same letters and digits. Gates can't tell them apart.",
    plates=[],
)
