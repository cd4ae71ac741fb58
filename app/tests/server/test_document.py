"""The API's document: complete, of names that last, and good enough for a generator of clients."""

import gzip
import json
import re
from collections.abc import Iterator
from typing import Any

import httpx
import jsonschema
import pytest
from parkmesh.server.outbox import events
from parkmesh.server.web.api import examples
from running_server import Server

REFUSALS = re.compile(r"[45]\d\d")


@pytest.fixture
async def document(server: Server) -> Any:
    async with httpx.AsyncClient(base_url=server.web) as client:
        return (await client.get("/api/v1/openapi.json")).json()


def operations(document: Any) -> Iterator[tuple[str, str, Any]]:
    for place in ("paths", "webhooks"):
        for path, methods in document.get(place, {}).items():
            for method, operation in methods.items():
                yield method, path, operation


async def test_everything_is_described(document: Any) -> None:
    bare = [
        f"{operation['operationId']}: {parameter['name']}"
        for _, _, operation in operations(document)
        for parameter in operation.get("parameters", [])
        if not parameter.get("description")
    ]
    bare += [
        f"{name}.{key}"
        for name, schema in document["components"]["schemas"].items()
        for key, value in schema.get("properties", {}).items()
        if not value.get("description")
    ]
    assert bare == []
    tags = {tag["name"]: tag["description"] for tag in document["tags"]}
    for _, path, operation in operations(document):
        assert operation["tags"], path
        assert set(operation["tags"]) <= set(tags), path
        assert operation["description"], path
    assert document["servers"]


async def test_names_are_short_and_used_once(document: Any) -> None:
    names = [operation["operationId"] for _, _, operation in operations(document)]
    assert len(names) == len(set(names))
    assert [name for name in names if not re.fullmatch(r"[a-z][A-Za-z]{3,29}", name)] == []
    assert {"listBookings", "createBooking", "createVisitorPass", "openGate", "getGateCommand", "importTable"} <= set(
        names
    )
    schemas = list(document["components"]["schemas"])
    assert [name for name in schemas if not re.fullmatch(r"[A-Z][A-Za-z]{1,29}", name)] == []
    assert len({name.lower() for name in schemas}) == len(schemas)


async def test_refusals_are_described_once_and_typed(document: Any) -> None:
    shared = document["components"]["responses"]
    for _, path, operation in operations(document):
        for status, answer in operation["responses"].items():
            if REFUSALS.fullmatch(status):
                assert list(answer) == ["$ref"], (path, status)
                assert answer["$ref"].removeprefix("#/components/responses/") in shared
        if operation["security"]:
            assert {"401", "429"} <= set(operation["responses"]), path
    for answer in shared.values():
        assert answer["content"] == {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}}
    assert "Retry-After" in shared["TooManyRequests"]["headers"]
    problem = document["components"]["schemas"]["Problem"]["properties"]
    assert problem["errors"]["items"] == {"$ref": "#/components/schemas/FieldError"}
    assert {"$ref": "#/components/schemas/Conflict"} in problem["conflict"]["anyOf"]


async def test_who_may_call_is_said_of_every_operation(
    server: Server, document: Any, subtests: pytest.Subtests
) -> None:
    """An operation without ``security`` answers strangers; all the others refuse them."""
    async with httpx.AsyncClient(base_url=server.web) as stranger:
        for method, path, operation in operations(document):
            if operation["security"]:
                with subtests.test(operation["operationId"]):
                    answer = await stranger.request(method, re.sub(r"\{[a-z_]+\}", "1", path), json={})
                    assert answer.status_code in (401, 422), answer.text
    assert [operation["operationId"] for _, _, operation in operations(document) if not operation["security"]]
    assert document["paths"]["/api/v1/communities"]["get"]["security"] == [{"token": []}, {"session": []}]
    booking = document["paths"]["/api/v1/communities/{community}/bookings"]["post"]
    assert booking["security"] == [{"token": []}, {"session": [], "formToken": []}]


async def test_examples_are_what_the_calls_take(document: Any) -> None:
    shown = {}
    for _, _, operation in operations(document):
        for content in operation.get("requestBody", {}).get("content", {}).values():
            for example in content.get("examples", {}).values():
                jsonschema.validate(example["value"], content["schema"] | {"components": document["components"]})
                shown[operation["operationId"]] = example["value"]
    assert shown == examples.BODIES


async def test_the_document_is_small_and_names_only_what_it_has(document: Any) -> None:
    text = json.dumps(document)
    assert len(gzip.compress(text.encode())) <= 150_000
    for reference in set(re.findall(r'"\$ref": "#/([^"]+)"', text)):
        found = document
        for part in reference.split("/"):
            found = found[part]
    stream = document["components"]["pathItems"]["LiveStream"]["get"]["responses"]["200"]["content"]
    assert list(stream) == ["text/event-stream"]


def test_calls_that_parkmesh_makes_are_described_like_the_others(document: dict[str, Any]) -> None:
    assert document["webhooks"].keys() > events.TYPES.keys()
    hook = document["webhooks"]["booking.cancelled"]["post"]
    assert hook["operationId"] == "onBookingCancelled"
    assert hook["summary"] == events.TYPES["booking.cancelled"]
