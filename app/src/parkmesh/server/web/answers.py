"""How the API's document describes answers that carry problem details (RFC 9457)."""

from http import HTTPStatus
from typing import Annotated, Any

from pydantic import BaseModel, Field
from pydantic.json_schema import models_json_schema

from parkmesh.server.http import problems


class FieldError(BaseModel):
    """One fault of a request."""

    where: Annotated[str, Field(description="The field, such as `body.from` or `query.limit`.")]
    what: Annotated[str, Field(description="What is wrong with it.")]


class Conflict(BaseModel):
    """The time window that is in the way."""

    from_: Annotated[str | None, Field(alias="from", description="Its beginning; null: always so far.")]
    until: Annotated[str | None, Field(description="Its end; null: without end.")]


class TableMistake(BaseModel):
    """A mistake in an imported table."""

    line: Annotated[int, Field(description="Line of the table, from 1, the header included.")]
    column: Annotated[str | None, Field(description="The column; null for a whole line.")]
    what: Annotated[str, Field(description="What is wrong.")]


class Problem(BaseModel):
    """Why a request was refused (RFC 9457)."""

    type: Annotated[str, Field(description="`urn:parkmesh:problem:…` names the kind; `about:blank`: see `status`.")]
    title: Annotated[str, Field(description="The status in words.")]
    status: Annotated[int, Field(description="The HTTP status.")]
    detail: Annotated[str, Field(description="What was wrong, in English.")]
    errors: Annotated[list[FieldError], Field(description="Of `invalid`: every fault.")] = []
    conflict: Annotated[Conflict | None, Field(description="Of `overlap`: what is in the way.")] = None
    mistake_count: Annotated[int | None, Field(description="Of `table`: the number of mistakes.")] = None
    mistakes: Annotated[list[TableMistake], Field(description="Of `table`: the first mistakes.")] = []

    @classmethod
    def openapi_schemas(cls) -> dict[str, dict[str, Any]]:
        """Return the schemas of problem details by their names in the document, without titles and defaults: a member
        that doesn't apply is absent."""
        _, whole = models_json_schema([(cls, "validation")], ref_template="#/components/schemas/{model}")
        schemas: dict[str, dict[str, Any]] = whole["$defs"]
        for schema in schemas.values():
            schema.pop("title", None)
            for value in schema["properties"].values():
                value.pop("title", None)
                value.pop("default", None)
        return schemas


def answers(*statuses: int) -> dict[int | str, dict[str, object]]:
    """Return the documentation of answers that carry problem details; ``document`` makes references of them."""
    return {
        status: {"description": HTTPStatus(status).phrase, "content": {problems.MEDIA_TYPE: {"schema": {}}}}
        for status in statuses
    }
