"""Answers are compressed, except those that another site may have asked for in the reader's name."""

import gzip
from collections.abc import Callable
from typing import Any

import httpx
import pytest
from page_visitor import Visitor
from parkmesh.server.http import compression
from running_server import Server
from starlette.datastructures import Headers

GZIP = {"Accept-Encoding": "gzip"}


@pytest.mark.parametrize(
    ("header", "accepted"),
    [
        ("gzip", True), ("deflate, gzip, br", True), ("GZIP;q=0.5", True), ("*", True), ("br, *;q=0.1", True),
        ("", False),
        ("br", False), ("gzip;q=0", False), ("gzip;q=0.0, *", False), ("gzip;q=x", False), ("identity", False),
    ],
)  # fmt: skip
def test_accept_encoding(header: str, accepted: bool) -> None:
    assert compression.accepts_gzip(header) is accepted


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({}, True),
        ({"cookie": "a=b"}, False),
        ({"cookie": "a=b", "sec-fetch-site": "cross-site"}, False),
        ({"cookie": "a=b", "sec-fetch-site": "same-site"}, False),
        ({"cookie": "a=b", "sec-fetch-site": "same-origin"}, True),
        ({"cookie": "a=b", "sec-fetch-site": "none"}, True),
        ({"authorization": "Bearer x"}, True),
    ],
)
def test_what_another_site_may_have_asked_for(headers: dict[str, str], expected: bool) -> None:
    assert compression.safe(Headers(headers)) is expected


async def test_a_signed_in_page_is_compressed_for_its_own_site_alone(admin: Visitor) -> None:
    async def encoding(**headers: str) -> str | None:
        answer = await admin.get("/communities/a", headers=GZIP | headers)
        assert "</html>" in answer.text
        assert {"Accept-Encoding", "Sec-Fetch-Site"} <= {item.strip() for item in answer.headers["vary"].split(",")}
        found: str | None = answer.headers.get("content-encoding")
        return found

    assert await encoding(**{"Sec-Fetch-Site": "same-origin"}) == "gzip"
    assert await encoding(**{"Sec-Fetch-Site": "cross-site"}) is None
    assert await encoding() is None
    assert await encoding(**{"Sec-Fetch-Site": "same-origin", "Accept-Encoding": "identity"}) is None


async def test_lengths_are_right_and_it_pays(server: Server) -> None:
    async with httpx.AsyncClient(base_url=server.web, headers=GZIP) as client:
        # The page to sign in sets a cookie, with which only files without secrets are compressed.
        for path in ("/api/v1/openapi.json", "/sign-in", "/static/parkmesh.css", "/static/live.js"):
            async with client.stream("GET", path) as answer:
                raw = b"".join([part async for part in answer.aiter_raw()])
            assert answer.headers["content-encoding"] == "gzip", path
            assert int(answer.headers["content-length"]) == len(raw)
            plain = (await client.get(path, headers={"Accept-Encoding": "identity"})).content
            assert gzip.decompress(raw)[:200] == plain[:200]
            assert len(raw) < len(plain) / 2
        head = await client.head("/static/parkmesh.css")
        assert head.content == b""


async def test_small_answers_streams_and_tables_are_left_alone(people: Callable[[str], Any], admin: Visitor) -> None:
    client = await people("administrator@a.example")
    small = await client.get("/api/v1/communities/a", headers=GZIP)
    assert "content-encoding" not in small.headers
    table = await client.get("/api/v1/communities/a/exports/spaces", headers=GZIP)
    assert "content-encoding" not in table.headers
    own = GZIP | {"Sec-Fetch-Site": "same-origin"}
    async with admin.client.stream("GET", "/communities/a/stream", headers=own) as stream:
        assert "content-encoding" not in stream.headers
        async for line in stream.aiter_lines():
            assert line
            break


async def test_a_program_s_answers_are_compressed(people: Callable[[str], Any]) -> None:
    client = await people("administrator@a.example")
    answer = await client.get("/api/v1/communities/a/spaces", headers=GZIP)
    assert answer.headers["content-encoding"] == "gzip"
    assert len(answer.json()["items"]) == 6
