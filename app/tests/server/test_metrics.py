"""``/metrics``: what a server measures, for machines nearby and not for the load balancer's clients."""

from collections.abc import Callable
from typing import Any

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families
from running_server import Database, Server, serving, settings

Gateway = Callable[[str], httpx.AsyncClient]
People = Callable[[str], Any]
TOKEN = "token-of-the-scraper"


async def samples(server: Server) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    async with httpx.AsyncClient(base_url=server.web) as client:
        answer = await client.get("/metrics")
    assert answer.status_code == 200
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(answer.text)
        for sample in family.samples
    }


def value(found: dict[Any, float], name: str, **labels: str) -> float:
    return found.get((name, frozenset(labels.items())), 0.0)


async def test_requests_are_counted_by_route_and_never_by_path(server: Server, people: People) -> None:
    before = await samples(server)
    desk = await people("desk@parkmesh.example")
    await desk.get("/api/v1/communities/a/gates")
    await desk.get("/api/v1/communities/nowhere/gates")
    await desk.request("BREW", "/coffee/1234BCD")
    after = await samples(server)

    def grown(route: str, method: str, status: str) -> float:
        labels = {"application": "web", "method": method, "route": route, "status": status}
        return value(after, "parkmesh_requests_total", **labels) - value(before, "parkmesh_requests_total", **labels)

    gates = "/api/v1/communities/{community}/gates"
    assert grown(gates, "GET", "200") == 1
    assert grown(gates, "GET", "404") == 1
    assert grown("unmatched", "other", "404") == 1
    assert value(after, "parkmesh_request_seconds_count", application="web", route=gates) >= 2
    text = str(after)
    for private in ("1234BCD", "coffee", "nowhere", "example", "BREW"):
        assert private not in text


async def test_ingestion_is_counted(server: Server, gateway: Gateway) -> None:
    event = {"type": "space_state", "seq": 1, "times": {"received": 1}, "space": "a-01", "status": "free"}
    before = await samples(server)
    async with gateway("gateway-a") as client:
        for _ in range(3):
            assert (await client.post("/edge/v1/events", json={"epoch": 1, "events": [event]})).status_code == 200
        late = {"epoch": 1, "events": [event | {"seq": 9}]}
        assert (await client.post("/edge/v1/events", json=late)).status_code == 409
    after = await samples(server)

    def grown(name: str, outcome: str) -> float:
        return value(after, name, outcome=outcome) - value(before, name, outcome=outcome)

    assert [grown("parkmesh_edge_events_total", outcome) for outcome in ("applied", "known")] == [1, 2]
    assert [grown("parkmesh_edge_batches_total", outcome) for outcome in ("applied", "known", "gap")] == [1, 2, 1]


async def test_what_is_open_is_counted(server: Server, people: People, gateway: Gateway) -> None:
    before = await samples(server)
    assert value(before, "parkmesh_live_pages") == 0
    streams = value(before, "parkmesh_gateway_streams")
    desk = await people("desk@parkmesh.example")
    cookies = {"parkmesh-session": desk.headers["authorization"].removeprefix("Bearer ")}
    async with (
        httpx.AsyncClient(base_url=server.web, cookies=cookies, timeout=20) as browser,
        browser.stream("GET", "/communities/a/stream") as page,
        gateway("gateway-a") as client,
        client.stream("GET", "/edge/v1/stream") as stream,
    ):
        frames = page.aiter_lines(), stream.aiter_lines()
        for lines in frames:
            await anext(lines)
        during = await samples(server)
    assert value(during, "parkmesh_live_pages") == 1
    assert value(during, "parkmesh_gateway_streams") == streams + 1


async def test_the_fleet_and_the_database_are_in_it(server: Server) -> None:
    found = await samples(server)
    assert value(found, "parkmesh_communities") == 2
    assert value(found, "parkmesh_gateways", state="offline") == 2
    assert value(found, "parkmesh_gateways", state="ok") == 0
    assert value(found, "parkmesh_database_up") == 1
    assert value(found, "parkmesh_database_wait_seconds_count") > 0
    assert 0 < value(found, "parkmesh_notification_lag_seconds") < 60


@pytest.mark.parametrize("header", ["X-Forwarded-For", "Forwarded", "Via"])
async def test_what_came_through_a_proxy_finds_nothing(server: Server, header: str) -> None:
    async with httpx.AsyncClient(base_url=server.web, headers={header: "127.0.0.1"}) as client:
        answer = await client.get("/metrics")
    assert answer.status_code == 404
    assert "parkmesh_" not in answer.text


async def test_with_a_token_only_its_holder_sees_them(filled: Database) -> None:
    async with (
        serving(settings(filled.app, PARKMESH_METRICS_TOKEN=TOKEN)) as server,
        httpx.AsyncClient(base_url=server.web) as client,
    ):
        assert (await client.get("/metrics")).status_code == 404
        assert (await client.get("/metrics", headers={"Authorization": "Bearer wrong"})).status_code == 404
        bearer = {"Authorization": f"Bearer {TOKEN}"}
        assert (await client.get("/metrics", headers=bearer)).status_code == 200
        through = bearer | {"X-Forwarded-For": "203.0.113.9"}
        assert (await client.get("/metrics", headers=through)).status_code == 404
