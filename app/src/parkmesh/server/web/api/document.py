"""The API's document: OpenAPI 3.1, in a form that generators make clients of.

FastAPI writes what routes and models say. Here follows what is said once for all: answers that carry problem details,
how callers prove who they are, what names mean, examples, the live stream. Operations of ``app.webhooks`` are treated
as those of paths.
"""

import json
from collections.abc import Iterable, Iterator
from http import HTTPStatus
from typing import Any

import msgspec
from fastapi import FastAPI
from fastapi.dependencies.models import Dependant
from fastapi.openapi.utils import get_openapi
from fastapi.routing import APIRoute

from parkmesh.server.http import problems
from parkmesh.server.settings import Settings
from parkmesh.server.web import authentication, live, security
from parkmesh.server.web.answers import Problem
from parkmesh.server.web.api import examples, words

RETRYING = frozenset({429, 503})
"""Statuses whose answers say in ``Retry-After`` when to try again."""
_SCHEMAS = "#/components/schemas/"
_RENAMED = {"Asked": "TimeWindow", "CredentialStatus": "CredentialChange", "Options": "PasskeyOptions"}
_METHODS = frozenset({"get", "put", "post", "delete", "patch"})


def operation_id(route: APIRoute) -> str:
    """Return the name of a route's operation, as ``listBookings``: its function's, so renaming one breaks clients."""
    first, *others = route.name.split("_")
    return first + "".join(word.capitalize() for word in others)


def write(app: FastAPI, routes: Iterable[APIRoute], settings: Settings) -> dict[str, Any]:
    """Return the document of the application's routes; ``routes`` are those of the API."""
    document = get_openapi(
        title=app.title,
        version=app.version,
        summary=app.summary,
        description="Times are RFC 3339 with an offset. Errors are problem details (RFC 9457).",
        routes=app.routes,
        webhooks=app.webhooks.routes,
        tags=[{"name": name, "description": text} for name, text in words.TAGS.items()],
        servers=[{"url": settings.public_url or "/", "description": "This server."}],
    )
    document = _renamed(document)
    _without_titles(document["paths"])
    _without_titles(document.get("webhooks", {}))
    components = document["components"]
    _without_titles(components["schemas"])
    components["securitySchemes"] = _schemes(settings)
    components["responses"] = {}
    for name, schema in Problem.openapi_schemas().items():
        components["schemas"][name] = schema
    callers = frozenset(operation_id(route) for route in routes if _asks(route.dependant))
    for operation in operations(document):
        asks = operation["operationId"] in callers
        _answer_by_reference(operation, components["responses"], limited=asks)
        by_cookie: dict[str, list[str]] = {"session": []}
        if operation.pop("x-method") != "get":
            by_cookie["formToken"] = []
        operation["security"] = [{"token": []}, by_cookie] if asks else []
        if example := examples.BODIES.get(operation["operationId"]):
            for content in operation["requestBody"]["content"].values():
                content["examples"] = {"usual": {"value": example}}
        for parameter in operation.get("parameters", []):
            _describe(parameter, words.PARAMETERS, parameter["name"])
    for name, schema in components["schemas"].items():
        for key, value in schema.get("properties", {}).items():
            _describe(value, words.PROPERTIES, f"{name}.{key}", key)
    _add_stream(components)
    return document


def operations(document: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield every operation of paths and webhooks; ``x-method`` is its method, to be taken out."""
    for place in ("paths", "webhooks"):
        for methods in document.get(place, {}).values():
            for method, operation in methods.items():
                if method in _METHODS:
                    operation["x-method"] = method
                    yield operation


def _describe(item: dict[str, Any], meanings: dict[str, str], *names: str) -> None:
    if not item.get("description"):
        found = next((meanings[name] for name in names if name in meanings), None)
        if found is not None:
            item["description"] = found


def _renamed(document: dict[str, Any]) -> dict[str, Any]:
    """Give schemas names that read well as a class; a model of rows is named after its row."""
    text = json.dumps(document)
    for name in document["components"]["schemas"]:
        new = _RENAMED.get(name, name)
        if name.startswith("Rows_"):
            new = name.removeprefix("Rows_").rstrip("_") + "Rows"
        if new != name:
            text = text.replace(f'"{_SCHEMAS}{name}"', f'"{_SCHEMAS}{new}"').replace(f'"{name}": {{', f'"{new}": {{')
    renamed: dict[str, Any] = json.loads(text)
    return renamed


def _without_titles(item: Any) -> None:
    """Remove titles: each only repeats the name of its property, and generators would name classes after it."""
    if isinstance(item, dict):
        if isinstance(item.get("title"), str):
            del item["title"]
        for value in item.values():
            _without_titles(value)
    elif isinstance(item, list):
        for value in item:
            _without_titles(value)


def _schemes(settings: Settings) -> dict[str, Any]:
    return {
        "token": {
            "type": "http",
            "scheme": "bearer",
            "description": "A session's token (POST /api/v1/sessions), or an API key's (`pmk_…`), which works for the "
            "routes of its community.",
        },
        "session": {
            "type": "apiKey",
            "in": "cookie",
            "name": security.session_cookie(settings),
            "description": "A browser's session, from the sign-in page.",
        },
        "formToken": {
            "type": "apiKey",
            "in": "header",
            "name": security.CSRF_HEADER,
            "description": "`csrf_token` of GET /api/v1/sessions/current: with the cookie, for every change.",
        },
    }


def _asks(dependant: Dependant) -> bool:
    """Tell whether a route asks who the caller is."""
    asking = (authentication.required, authentication.half_way)
    return any(item.call in asking or _asks(item) for item in dependant.dependencies)


def _answer_by_reference(operation: dict[str, Any], shared: dict[str, Any], *, limited: bool) -> None:
    """Replace an operation's refusals by references to the answers that all share."""
    statuses = {int(status) for status in operation["responses"] if int(status) >= 400}
    if limited:
        statuses.add(429)
    for status in sorted(statuses):
        name = HTTPStatus(status).name.title().replace("_", "")
        operation["responses"][str(status)] = {"$ref": f"#/components/responses/{name}"}
        shared.setdefault(name, _shared(status))


def _shared(status: int) -> dict[str, Any]:
    answer: dict[str, Any] = {
        "description": HTTPStatus(status).phrase,
        "content": {problems.MEDIA_TYPE: {"schema": {"$ref": f"{_SCHEMAS}Problem"}}},
    }
    if status in RETRYING:
        seconds = {"type": "integer", "minimum": 1}
        answer["headers"] = {"Retry-After": {"description": "Seconds until another attempt.", "schema": seconds}}
    return answer


def _add_stream(components: dict[str, Any]) -> None:
    """Describe the live stream. It is a path item of the components, not of the paths: it is no call with an answer,
    and generators that know no event streams would warn of it."""
    _, schemas = msgspec.json.schema_components([live.Update], ref_template=_SCHEMAS + "{name}")
    own = {name: f"Live{name}" for name in schemas}
    text = json.dumps(schemas)
    for name, new in own.items():
        text = text.replace(f'"{_SCHEMAS}{name}"', f'"{_SCHEMAS}{new}"')
    for name, schema in json.loads(text).items():
        schema.pop("title", None)
        for key, value in schema.get("properties", {}).items():
            _describe(value, words.STREAM, f"{name}.{key}", key)
        components["schemas"][own[name]] = schema
    components["pathItems"] = {
        "LiveStream": {
            "summary": "GET /communities/{community}/stream",
            "get": {
                "operationId": "followCommunity",
                "summary": "Follow a community live.",
                "description": "Server-sent events. The event `update` carries a LiveUpdate: first a snapshot, then "
                "what changed. `reconnect` asks the client to connect again, after an hour at the latest. A comment "
                "comes every 15 seconds. For browsers: it takes the session's cookie only.",
                "security": [{"session": []}],
                "responses": {
                    "200": {
                        "description": "OK",
                        "content": {
                            "text/event-stream": {
                                "schema": {"type": "string"},
                                "x-events": {"update": {"$ref": f"{_SCHEMAS}LiveUpdate"}},
                            }
                        },
                    },
                    **{
                        str(status): {"$ref": f"#/components/responses/{name}"}
                        for status, name in ((401, "Unauthorized"), (403, "Forbidden"), (404, "NotFound"))
                    },
                },
            },
        }
    }
