"""How the API's document describes answers that carry problem details (RFC 9457)."""

from http import HTTPStatus

from pydantic import BaseModel

from parkmesh.server.http import problems


class ProblemDetails(BaseModel):
    """RFC 9457."""

    type: str
    title: str
    status: int
    detail: str


_PROBLEM = ProblemDetails.model_json_schema()


def answers(*statuses: int) -> dict[int | str, dict[str, object]]:
    """Return the documentation of answers that carry problem details."""
    return {
        status: {"description": HTTPStatus(status).phrase, "content": {problems.MEDIA_TYPE: {"schema": _PROBLEM}}}
        for status in statuses
    }
