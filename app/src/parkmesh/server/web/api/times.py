"""Times in requests and answers of the API: RFC 3339 with an offset, half-open windows."""

from datetime import UTC, date, datetime
from typing import Annotated, Any, Self

from pydantic import (
    AfterValidator,
    AwareDatetime,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    WithJsonSchema,
    model_validator,
)

from parkmesh.domain.windows import Window
from parkmesh.server.web.fields import Body

FIRST_YEAR, LAST_YEAR = 2000, 2099


def _text(value: Any) -> Any:
    # Pydantic would read numbers as seconds since 1970.
    if not isinstance(value, str):
        raise ValueError("a text is needed")
    return value


def _within_reach(value: date) -> date:
    if not FIRST_YEAR <= value.year <= LAST_YEAR:
        raise ValueError(f"a year from {FIRST_YEAR} to {LAST_YEAR} is needed")
    return value


def _utc(value: datetime) -> datetime:
    _within_reach(value)
    return value.astimezone(UTC)


def _written(form: str) -> Any:
    return Annotated[str, WithJsonSchema({"type": "string", "format": form})]


Moment = Annotated[
    AwareDatetime, BeforeValidator(_text, json_schema_input_type=_written("date-time")), AfterValidator(_utc)
]
Day = Annotated[date, BeforeValidator(_text, json_schema_input_type=_written("date")), AfterValidator(_within_reach)]


class Asked(Body):
    """A window that a client asks for: from ``from`` until just before ``until``."""

    from_: Moment = Field(alias="from")
    until: Moment

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if not self.from_ < self.until:
            raise ValueError("until must be later than from")
        return self

    @property
    def window(self) -> Window:
        return Window(self.from_, self.until)


class Shown(BaseModel):
    """An object with a window: its ``from_`` is ``from`` in the API."""

    model_config = ConfigDict(
        from_attributes=True, validate_by_name=True, validate_by_alias=True, serialize_by_alias=True
    )

    from_: datetime = Field(alias="from")


class Stretch(Shown):
    until: datetime
