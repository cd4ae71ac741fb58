"""Bodies, and the fields of bodies, paths and queries that several subjects take: their bounds and forms."""

from typing import Annotated

from fastapi import Path, Query
from pydantic import BaseModel, ConfigDict, Field, StringConstraints


class Body(BaseModel):
    """A body that a client sends: unknown members are an error."""

    model_config = ConfigDict(extra="forbid")


# No control characters: PostgreSQL stores no NUL, and none of the others belongs in a name.
PRINTABLE = r"^[^\x00-\x1f\x7f]*$"
# Of what gateways, sensors and signs know by its name.
NAME = r"^[a-z0-9]([a-z0-9-]*[a-z0-9])?$"
MAX_ID = 2**63 - 1
MIN_REASON, MAX_REASON = 3, 200

Text = Annotated[str, Field(pattern=PRINTABLE)]
"""One line of entered text. Give it a length: ``Annotated[Text, Field(max_length=60)]``."""
Name = Annotated[str, Field(min_length=1, max_length=63, pattern=NAME)]
Reason = Annotated[Text, Field(min_length=MIN_REASON, max_length=MAX_REASON)]
Title = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=120, pattern=PRINTABLE)]
Word = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=60, pattern=PRINTABLE)]
Label = Annotated[str, StringConstraints(strip_whitespace=True, max_length=60, pattern=PRINTABLE)]
Email = Annotated[
    str,
    StringConstraints(
        strip_whitespace=True, to_lower=True, max_length=254, pattern=r"^[^@\s\x00-\x1f\x7f]+@[^@\s\x00-\x1f\x7f]+$"
    ),
]
Plate = Annotated[str, Field(min_length=1, max_length=64, pattern=PRINTABLE, description="In any usual spelling.")]
Password = Annotated[str, Field(min_length=1, max_length=1024)]
Id = Annotated[int, Field(ge=1, le=MAX_ID)]
IdInPath = Annotated[int, Path(ge=1, le=MAX_ID)]
IdAsked = Annotated[int | None, Query(ge=1, le=MAX_ID)]
Search = Annotated[str, Query(alias="q", max_length=60, pattern=PRINTABLE, description="Text that they contain.")]
