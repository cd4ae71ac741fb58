"""Webhooks, from the act to a real receiver over HTTPS: signatures, retries, stops, replays, and what isn't reached."""

import asyncio
import base64
import hmac
import html
import json
import re
import time
from collections.abc import AsyncIterator, Callable, Sequence
from datetime import UTC, datetime, timedelta
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import certificates
import httpx
import pytest
from page_visitor import alerts, visiting
from parkmesh.domain import webhooks as rules
from parkmesh.server import webhooks
from parkmesh.server.audit import User
from parkmesh.server.db import database
from parkmesh.server.http.problems import Problem
from parkmesh.server.mail import contents
from parkmesh.server.notifications import routing
from parkmesh.server.outbox import events
from parkmesh.server.settings import SettingError, WebhookSettings, from_environment
from parkmesh.server.web import labels
from parkmesh.server.web.language import language
from parkmesh.server.webhooks import deliveries, endpoints
from parkmesh.server.webhooks.transport import Sender
from parkmesh.server.webhooks.worker import OF_ENDPOINT, WebhookWorker
from running_server import Database, Server, serving, settings
from two_communities import PASSWORD, rows
from webhook_receiver import Received, Receiver, receiving

A = "/api/v1/communities/a"
ADMIN, RESIDENT, DESK = "administrator@a.example", "resident@a.example", "desk@parkmesh.example"
HOST = "hooks.test"
AT = datetime(2026, 11, 27, 7, 56, 45, 515000, UTC)


@pytest.fixture
def issued(tmp_path: Path) -> tuple[Path, Path]:
    """Return a CA's certificate and the receiver's certificate with its key."""
    return certificates.issue(tmp_path, HOST)


@pytest.fixture
async def receiver(issued: tuple[Path, Path]) -> AsyncIterator[Receiver]:
    async with receiving(issued[1]) as running:
        yield running


@pytest.fixture
def here(issued: tuple[Path, Path], receiver: Receiver) -> WebhookSettings:
    """Return settings that reach the receiver."""
    return WebhookSettings(frozenset({443, receiver.port}), (ip_network("127.0.0.1/32"),), str(issued[0]))


@pytest.fixture
async def pool(filled: Database) -> AsyncIterator[database.Pool]:
    async with database.create_pool(filled.app, "test", 4) as made:
        yield made


@pytest.fixture
async def place(filled: Database, receiver: Receiver, issued: tuple[Path, Path]) -> AsyncIterator[Server]:
    """Run a server that would reach the receiver's port, whose name it can't resolve: the tests send themselves."""
    environment = {
        "PARKMESH_WEBHOOK_PORTS": str(receiver.port),
        "PARKMESH_WEBHOOK_NETWORKS": "127.0.0.1/32",
        "PARKMESH_WEBHOOK_CA": str(issued[0]),
    }
    async with serving(settings(filled.app, **environment)) as server:
        yield server


async def loopback(host: str, port: int) -> Sequence[str]:
    return ["127.0.0.1"]


def work(pool: database.Pool, config: WebhookSettings, **options: Any) -> WebhookWorker:
    return WebhookWorker(pool, Sender(config, options.pop("resolve", loopback), **options))


async def send_all(worker: WebhookWorker) -> None:
    """Send until nothing is due."""
    while await worker.send_due() == 0.0 or worker._under_way:
        await asyncio.gather(*worker._under_way)


async def endpoint(
    pool: database.Pool, owner: Any, config: WebhookSettings, url: str, **wish: Any
) -> tuple[int, int, str]:
    """Make an endpoint of community a as its administrator; return the community's id, its own, and its secret."""
    (found,) = await rows(owner, "a", "SELECT user_id FROM membership WHERE community_id = $1 AND role <> 'resident'")
    (community,) = await rows(owner, "a", "SELECT id FROM community WHERE id = $1")
    async with database.in_community(pool, community["id"]) as connection:
        asked = webhooks.endpoints.Wish(url, wish.get("types"), wish.get("include", []))
        made, secret = await webhooks.endpoints.create(
            connection, User(found["user_id"]), community["id"], asked, config
        )
    return community["id"], made.id, secret


async def happened(pool: database.Pool, community_id: int, type_: str = "booking.created", what: str = "booking/48",
                   count: int = 1, **data: Any) -> None:  # fmt: skip
    """Record events and have them sent, as the router of events does."""
    async with database.in_community(pool, community_id) as connection:
        await events.record_all(connection, community_id, [(type_, what, data, AT)] * count)
        found = await events.take(connection, community_id, 10_000)
        await webhooks.enqueue(connection, community_id, found)
        await events.routed(connection, community_id, [event.id for event in found])


async def log(owner: Any) -> list[dict[str, Any]]:
    return await rows(
        owner,
        "a",
        """
        SELECT *, extract(epoch FROM due_at - clock_timestamp())::float8 AS wait_s
        FROM webhook_delivery WHERE community_id = $1 ORDER BY id
        """,
    )


async def due(owner: Any) -> None:
    """Let what waits be due."""
    await rows(owner, "a", "UPDATE webhook_delivery SET due_at = now() WHERE community_id = $1")


def signed(request: Received, secret: str) -> bool:
    """Verify a request as a receiver does that has one secret."""
    text = f"{request.headers['webhook-id']}.{request.headers['webhook-timestamp']}.".encode() + request.body
    expected = base64.b64encode(hmac.digest(base64.b64decode(secret.removeprefix("whsec_")), text, "sha256")).decode()
    return f"v1,{expected}" in request.headers["webhook-signature"].split(" ")


async def test_an_event_arrives_signed_and_thin(
    pool: Any, owner: Any, here: WebhookSettings, receiver: Receiver
) -> None:
    community, _, secret = await endpoint(pool, owner, here, receiver.url, types=["passage.denied"])
    await happened(pool, community, "booking.created")
    data = {"passage": 24, "gate": "main-in", "direction": "entry", "reason": "unknown_plate"}
    await happened(pool, community, "passage.denied", "passage/24", **data)
    await send_all(work(pool, here))
    assert receiver.received, [row["last_error"] for row in await log(owner)]
    (request,) = receiver.received
    assert signed(request, secret)
    assert not signed(request, "whsec_" + base64.b64encode(b"x" * 32).decode())
    assert (request.path, request.headers["content-type"]) == ("/in", "application/json")
    assert abs(int(request.headers["webhook-timestamp"]) - datetime.now(UTC).timestamp()) < 10
    assert json.loads(request.body) == {
        "type": "passage.denied",
        "timestamp": "2026-11-27T07:56:45.515Z",
        "data": {"community": "a", **data},
    }
    (row,) = await log(owner)
    assert (row["attempts"], row["last_status"], row["dead_at"]) == (1, 204, None)
    assert row["delivered_at"] is not None
    assert request.headers["webhook-id"] == str(row["event_id"])


async def test_a_plate_leaves_only_where_it_was_asked_for(
    pool: Any, owner: Any, here: WebhookSettings, receiver: Receiver
) -> None:
    await endpoint(pool, owner, here, receiver.url + "/thin")
    community, number, _ = await endpoint(pool, owner, here, receiver.url + "/plates", include=["plate"])
    (credential,) = await rows(owner, "a", "SELECT id, plate FROM credential WHERE community_id = $1 LIMIT 1")
    await happened(pool, community, "credential.added", f"credential/{credential['id']}")
    await send_all(work(pool, here))
    found = {request.path: json.loads(request.body)["data"] for request in receiver.received}
    assert found["/in/thin"] == {"community": "a", "credential": credential["id"]}
    assert found["/in/plates"]["plate"] == credential["plate"]
    trail = await rows(
        owner, "a", "SELECT detail FROM audit_entry WHERE community_id = $1 AND object = $2", f"webhook/{number}"
    )
    assert json.loads(trail[0]["detail"])["include"] == ["plate"]


@pytest.mark.parametrize(
    ("answer", "wait_s"),
    [
        ("500 Internal Server Error", 5),
        ("302 Found\r\nLocation: https://hooks.test/elsewhere", 5),
        ("429 Too Many Requests\r\nRetry-After: 120", 120),
        ("500 Internal Server Error\r\nRetry-After: 120", 5),
    ],
)
async def test_a_failure_is_tried_again_under_the_same_id(
    pool: Any, owner: Any, here: WebhookSettings, receiver: Receiver, answer: str, wait_s: int
) -> None:
    community, _, secret = await endpoint(pool, owner, here, receiver.url)
    await happened(pool, community)
    receiver.answers = [answer]
    worker = work(pool, here)
    await send_all(worker)
    (row,) = await log(owner)
    assert row["delivered_at"] is None
    assert row["last_status"] == int(answer[:3])
    assert wait_s - 3 < row["wait_s"] <= wait_s * 1.1
    assert len(receiver.received) == 1, "not due yet, and nothing follows a redirection"
    await due(owner)
    await send_all(worker)
    first, second = receiver.received
    assert first.headers["webhook-id"] == second.headers["webhook-id"]
    assert first.body == second.body
    assert signed(second, secret)
    (row,) = await log(owner)
    assert (row["attempts"], row["delivered_at"] is not None) == (2, True)


async def test_a_slow_receiver_fails_and_holds_up_no_other(
    pool: Any, owner: Any, here: WebhookSettings, receiver: Receiver, issued: tuple[Path, Path]
) -> None:
    async with receiving(issued[1]) as slow:
        slow.delay_s = 3
        ports = WebhookSettings(here.ports | {slow.port}, here.networks, here.ca_file)
        community, _, _ = await endpoint(pool, owner, ports, slow.url)
        await endpoint(pool, owner, ports, receiver.url)
        await happened(pool, community, count=60)
        worker = work(pool, ports, total_s=1.0)
        began = time.monotonic()
        running = asyncio.create_task(worker.run())
        try:
            await receiver.until(60)
            # It got its share only: so many at a time, each for a second.
            assert 1 <= len(slow.received) <= OF_ENDPOINT * (2 + int(time.monotonic() - began))
            async with asyncio.timeout(20):
                while not (errors := {row["last_error"] for row in await log(owner)} - {None}):  # noqa: ASYNC110
                    await asyncio.sleep(0.1)
        finally:
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)
    assert errors == {"no answer in time"}


async def test_two_workers_never_send_the_same_at_the_same_time(
    pool: Any, filled: Database, owner: Any, here: WebhookSettings, receiver: Receiver
) -> None:
    community, _, _ = await endpoint(pool, owner, here, receiver.url)
    await happened(pool, community, count=100)
    receiver.delay_s = 0.02
    async with database.create_pool(filled.app, "other", 4) as other:
        await asyncio.gather(send_all(work(pool, here)), send_all(work(other, here)))
        await send_all(work(pool, here))
    assert receiver.at_once == 1
    ids = [request.headers["webhook-id"] for request in receiver.received]
    assert len(ids) == len(set(ids)) == 100


async def test_what_a_dead_worker_took_is_sent_after_its_lease(
    pool: Any, owner: Any, here: WebhookSettings, receiver: Receiver
) -> None:
    community, _, _ = await endpoint(pool, owner, here, receiver.url)
    await happened(pool, community)
    assert len(await deliveries.take(pool, 10, 5)) == 1
    assert await deliveries.take(pool, 10, 5) == []
    await due(owner)
    await send_all(work(pool, here))
    assert len(receiver.received) == 1


async def test_410_switches_the_webhook_off_and_mails_its_maker(
    pool: Any, owner: Any, here: WebhookSettings, receiver: Receiver
) -> None:
    community, number, _ = await endpoint(pool, owner, here, receiver.url)
    await happened(pool, community, count=3)
    receiver.answers = ["410 Gone"] * 3
    worker = work(pool, here)
    await send_all(worker)
    await happened(pool, community)
    await due(owner)
    await send_all(worker)
    assert len(receiver.received) == 3
    (row,) = await rows(owner, "a", "SELECT enabled, stopped_why FROM webhook_endpoint WHERE community_id = $1")
    assert row == {"enabled": False, "stopped_why": "gone"}
    mails = await rows(owner, "a", "SELECT kind, recipient, payload FROM message WHERE community_id = $1")
    assert [(mail["kind"], mail["recipient"]) for mail in mails] == [("webhook-stopped", ADMIN)]
    assert json.loads(mails[0]["payload"])["path"] == f"/communities/a/webhooks/{number}"


async def test_a_webhook_stops_after_75_hours_of_failures_and_not_before(
    pool: Any, owner: Any, here: WebhookSettings, receiver: Receiver
) -> None:
    community, _, _ = await endpoint(pool, owner, here, receiver.url)
    await happened(pool, community)
    worker = work(pool, here)
    for hours, on in ((74, True), (76, False)):
        receiver.answers = ["500 Oh"]
        await due(owner)
        await rows(
            owner,
            "a",
            "UPDATE webhook_endpoint SET failing_since = now() - $2::interval WHERE community_id = $1",
            timedelta(hours=hours),
        )
        await send_all(worker)
        (row,) = await rows(owner, "a", "SELECT enabled FROM webhook_endpoint WHERE community_id = $1")
        assert row["enabled"] is on


async def test_a_delivery_is_given_up_after_the_last_retry_and_a_success_forgets_the_failures(
    pool: Any, owner: Any, here: WebhookSettings, receiver: Receiver
) -> None:
    community, _, _ = await endpoint(pool, owner, here, receiver.url)
    await happened(pool, community)
    worker = work(pool, here)
    receiver.answers = ["503 Busy"] * 10
    for _ in range(10):
        (row,) = await log(owner)
        assert row["dead_at"] is None
        await due(owner)
        await send_all(worker)
    (row,) = await log(owner)
    assert (row["attempts"], row["dead_at"] is not None) == (10, True)
    (failing,) = await rows(owner, "a", "SELECT failing_since FROM webhook_endpoint WHERE community_id = $1")
    assert failing["failing_since"] is not None
    await happened(pool, community)
    await send_all(worker)
    (failing,) = await rows(owner, "a", "SELECT failing_since FROM webhook_endpoint WHERE community_id = $1")
    assert failing["failing_since"] is None


async def test_a_name_that_resolves_elsewhere_a_moment_later_changes_nothing(
    issued: tuple[Path, Path], receiver: Receiver
) -> None:
    """Rebinding: the address that was checked is the one that is connected to, and each request checks anew."""
    asked: list[str] = []

    async def rebinding(host: str, port: int) -> Sequence[str]:
        asked.append(host)
        return ["127.0.0.2"] if len(asked) == 1 else ["127.0.0.1"]

    async with receiving(issued[1], "127.0.0.2", receiver.port) as outside:
        config = WebhookSettings(frozenset({443, receiver.port}), (ip_network("127.0.0.2/32"),), str(issued[0]))
        sender = Sender(config, rebinding)
        headers = {"webhook-id": "1"}
        assert (await sender.send(receiver.url, b"{}", headers)).status == 204
        assert (len(outside.received), asked) == (1, [HOST])
        refused = await sender.send(receiver.url, b"{}", headers)
        assert (refused.status, refused.error) == (None, "the name does not resolve to public addresses alone")
        await sender.close()
    assert receiver.connections == 0


async def test_one_private_address_among_public_ones_is_refused(receiver: Receiver, here: WebhookSettings) -> None:
    async def both(host: str, port: int) -> Sequence[str]:
        return ["127.0.0.1", "169.254.169.254"]

    sender = Sender(here, both)
    assert (await sender.send(receiver.url, b"{}", {})).status is None
    assert receiver.connections == 0


async def test_a_certificate_for_another_name_or_of_another_ca_is_refused(
    receiver: Receiver, here: WebhookSettings, tmp_path: Path
) -> None:
    sender = Sender(here, loopback)
    other = await sender.send(receiver.url.replace(HOST, "other.test"), b"{}", {})
    assert other.status is None
    assert "certificate" in (other.error or "")
    strange = WebhookSettings(here.ports, here.networks, str(certificates.issue(tmp_path, HOST)[0]))
    assert (await Sender(strange, loopback).send(receiver.url, b"{}", {})).status is None
    assert receiver.received == []


async def test_a_community_that_was_offboarded_sends_nothing(
    pool: Any, owner: Any, here: WebhookSettings, receiver: Receiver, people: Callable[[str], Any]
) -> None:
    community, _, _ = await endpoint(pool, owner, here, receiver.url)
    await happened(pool, community)
    desk = await people(DESK)
    assert (await desk.post("/api/v1/communities/a/offboard", json={"reason": "ended"})).status_code == 200
    await send_all(work(pool, here))
    assert receiver.received == []


async def test_an_act_is_told_by_the_server_itself(filled: Database, tmp_path: Path, owner: Any) -> None:
    """From the request that does it to the receiver, through the router of events and the server's own worker."""
    ca, certificate = certificates.issue(tmp_path, "localhost")
    async with receiving(certificate) as receiver:
        receiver.host = "localhost"
        environment = {
            "PARKMESH_WEBHOOK_PORTS": str(receiver.port),
            "PARKMESH_WEBHOOK_NETWORKS": "127.0.0.1/32 ::1/128",
            "PARKMESH_WEBHOOK_CA": str(ca),
        }
        async with serving(settings(filled.app, **environment)) as server:
            client = await sign_in(server)
            made = await client.post(f"{A}/webhooks", json={"url": receiver.url, "types": ["credential.added"]})
            added = await client.post(f"{A}/vehicles", json={"plate": "7777ZZZ"})
            (request,) = await receiver.until(1)
    assert signed(request, made.json()["secret"])
    event = json.loads(request.body)
    assert (event["type"], event["data"]["credential"]) == ("credential.added", added.json()["id"])
    assert "7777ZZZ" not in request.body.decode()


async def sign_in(server: Server, email: str = ADMIN) -> httpx.AsyncClient:
    client = httpx.AsyncClient(base_url=server.web, timeout=20)
    answer = await client.post("/api/v1/sessions", json={"email": email, "password": PASSWORD})
    client.headers["Authorization"] = f"Bearer {answer.json()['token']}"
    return client


async def test_the_life_of_a_webhook_in_the_api(
    place: Server, pool: Any, owner: Any, here: WebhookSettings, receiver: Receiver
) -> None:
    client = await sign_in(place)
    made = await client.post(f"{A}/webhooks", json={"url": receiver.url, "types": ["booking.created"]})
    assert made.status_code == 201, made.text
    old = made.json()["secret"]
    hook = f"{A}/webhooks/{made.json()['id']}"
    assert "secret" not in (await client.get(hook)).json()
    assert old not in (await client.get(f"{A}/webhooks")).text
    # The server's own worker can't resolve the name: it failed, and is tried again.
    tried = (await client.post(f"{hook}/test")).json()
    assert tried["state"] == "waiting"
    for _ in range(100):
        (delivery,) = (await client.get(f"{hook}/deliveries?status=waiting")).json()["items"]
        if delivery["last_error"]:
            break
        await asyncio.sleep(0.05)
    assert delivery["last_error"] == "the name can't be resolved"
    # Rotated: both secrets verify until the overlap ends.
    new = (await client.post(f"{hook}/rotate-secret", json={"overlap_hours": 1})).json()["secret"]
    worker = work(pool, here)
    await rows(owner, "a", "UPDATE webhook_delivery SET due_at = now() WHERE community_id = $1")
    await send_all(worker)
    await receiver.until(1)
    assert signed(receiver.received[0], old)
    assert signed(receiver.received[0], new)
    assert json.loads(receiver.received[0].body)["type"] == "webhook.test"
    await rows(owner, "a", "UPDATE webhook_endpoint SET previous_until = now() WHERE community_id = $1")
    again = await client.post(f"{hook}/deliveries/{delivery['id']}/redeliver")
    assert again.status_code == 202, again.text
    assert again.json()["event_id"] == delivery["event_id"]
    window = {"from": AT.isoformat(), "until": (AT + timedelta(seconds=1)).isoformat()}
    assert (await client.post(f"{hook}/replay", json=window)).json() == {"events": 0}
    backwards = {"from": window["until"], "until": window["from"]}
    assert (await client.post(f"{hook}/replay", json=backwards)).status_code == 422
    tag = (await client.get(hook)).headers["etag"]
    body = {"url": receiver.url, "types": ["booking.created"], "include": [], "enabled": False}
    changed = await client.put(hook, json=body, headers={"If-Match": tag})
    assert (changed.status_code, changed.json()["enabled"]) == (200, False)
    assert (await client.put(hook, json=body, headers={"If-Match": tag})).status_code == 412
    assert (await client.post(f"{hook}/test")).status_code == 409
    assert (await client.delete(hook, headers={"If-Match": "*"})).status_code == 204
    assert await log(owner) == []
    trail = (await client.get(f"{A}/audit?action=webhook.")).json()["items"]
    assert [entry["action"].removeprefix("webhook.") for entry in reversed(trail)] == [
        "create", "test", "rotate-secret", "redeliver", "replay", "change", "delete",
    ]  # fmt: skip
    assert old not in json.dumps(trail)


async def test_a_time_is_replayed_with_the_same_ids(
    pool: Any, owner: Any, here: WebhookSettings, receiver: Receiver
) -> None:
    # No server: its own worker would take what is due.
    community, number, _ = await endpoint(pool, owner, here, receiver.url, types=["booking.created"])
    await happened(pool, community)
    await happened(pool, community, "booking.moved")
    worker = work(pool, here)
    await send_all(worker)
    async with database.in_community(pool, community) as connection:
        # Before the webhook was made, for example: nothing was sent of it.
        await events.record_all(connection, community, [("booking.created", "booking/7", {}, AT)])
        hook = await endpoints.read(connection, community, number)
        assert hook
        until = AT + timedelta(seconds=1)
        assert await deliveries.replay(connection, User(1), community, hook, AT, until) == 2
        # What waits already is left as it is.
        assert await deliveries.replay(connection, User(1), community, hook, AT, until) == 0
        with pytest.raises(Problem, match="not after from"):
            await deliveries.replay(connection, User(1), community, hook, until, AT)
    await send_all(worker)
    await receiver.until(3)
    ids = [request.headers["webhook-id"] for request in receiver.received]
    assert ids.count(ids[0]) == 2


@pytest.mark.parametrize(
    "url",
    ["http://hooks.example/", "https://10.0.0.1/", "https://169.254.169.254/latest", "https://[::1]/",
     "https://hooks.example:8443/", "https://user:pw@hooks.example/", "https://localhost/", "https://2130706433/"],
)  # fmt: skip
async def test_an_address_that_nothing_may_be_sent_to_is_refused(people: Callable[[str], Any], url: str) -> None:
    client = await people(ADMIN)
    answer = await client.post(f"{A}/webhooks", json={"url": url})
    assert (answer.status_code, answer.json()["detail"][:4]) == (422, "url:"), answer.text


async def test_webhooks_are_staffs(people: Callable[[str], Any], owner: Any) -> None:
    client = await people(RESIDENT)
    assert (await client.get(f"{A}/webhooks")).status_code == 403
    assert (await client.post(f"{A}/webhooks", json={"url": "https://hooks.example/"})).status_code == 403
    admin = await people(ADMIN)
    assert (await admin.post(f"{A}/webhooks", json={"url": "https://x.example/", "types": ["x.y"]})).status_code == 422


def granted(seq: int, *, opened: bool = True) -> dict[str, object]:
    """Return a passage of now, as a gateway reports it."""
    return {
        "type": "passage", "seq": seq, "times": {"received": int(datetime.now(UTC).timestamp() * 1000)},
        "gate": "main-in", "direction": "entry", "plate": "1234BCD", "decision": "granted", "reason": "exact",
        "opened": opened,
    }  # fmt: skip


async def test_passages_are_events_where_somebody_wants_them(
    pool: Any,
    owner: Any,
    here: WebhookSettings,
    receiver: Receiver,
    gateway: Callable[[str], httpx.AsyncClient],
) -> None:
    async def passed(seq: int) -> list[str]:
        async with gateway("gateway-a") as client:
            read = granted(seq, opened=seq < 3)
            answer = await client.post("/edge/v1/events", json={"epoch": 1, "events": [read]})
        assert answer.status_code == 200, answer.text
        everything = community in await webhooks.that_want_passages(pool)
        await routing.route(pool, community, everything=everything, mails=False)
        kept = await rows(owner, "a", "SELECT type FROM event WHERE community_id = $1 ORDER BY id")
        return [row["type"] for row in kept]

    community, _, _ = await endpoint(pool, owner, here, receiver.url, types=["booking.created"])
    assert await passed(1) == []
    await endpoint(pool, owner, here, receiver.url, types=["passage.granted"])
    assert await passed(2) == ["passage.granted"]
    assert await passed(3) == ["passage.granted", "passage.unconfirmed"]
    assert [row["type"] for row in await log(owner)] == ["passage.granted"]


async def test_the_document_describes_all_events(people: Callable[[str], Any]) -> None:
    document = (await (await people(ADMIN)).get("/api/v1/openapi.json")).json()
    assert set(document["webhooks"]) == {*events.TYPES, "webhook.test"}


@pytest.mark.parametrize("name", ["PORTS", "NETWORKS", "CA"])
def test_unusable_settings_are_named(name: str) -> None:
    base = {"PARKMESH_DATABASE_URL": "postgresql://x@y/z", "PARKMESH_SESSION_SECRET": "x" * 20}
    with pytest.raises(SettingError, match=f"PARKMESH_WEBHOOK_{name}"):
        from_environment({**base, f"PARKMESH_WEBHOOK_{name}": "/nowhere"})


def test_the_vector_of_the_specification() -> None:
    secret = rules.secret_of("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
    at = datetime.fromtimestamp(1614265330, UTC)
    headers = rules.headers("msg_p5jXN8AQM9LWM0D4loKWxJek", at, b'{"test": 2432232314}', [secret])
    assert headers["webhook-signature"] == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


def test_every_event_has_its_words_on_pages() -> None:
    assert labels.EVENT.items() >= events.TYPES.items()


async def test_the_life_of_a_webhook_on_pages(place: Server, owner: Any, receiver: Receiver) -> None:
    hooks = "/communities/a/webhooks"
    async with visiting(place.web, ADMIN) as admin:
        refused = await admin.send(hooks, of=hooks, url="http://hooks.example/", all="on")
        assert "https://" in alerts(refused)
        refused = await admin.send(hooks, of=hooks, url=receiver.url)
        assert "Choose some events" in alerts(refused)
        made = await admin.send(hooks, of=hooks, url=receiver.url, types=["booking.created", "passage.denied"])
        assert re.search(r"whsec_[A-Za-z0-9+/]{43}=", html.unescape(made.text))
        (row,) = await rows(owner, "a", "SELECT id, types, include FROM webhook_endpoint WHERE community_id = $1")
        assert (row["types"], row["include"]) == (["booking.created", "passage.denied"], [])
        hook = f"{hooks}/{row['id']}"
        assert "whsec_" not in (await admin.get(hook)).text
        wish = {"url": receiver.url, "all": "on", "plate": "on", "enabled": "on"}
        saved = await admin.send(hook, of=hook, seen=await admin.seen(hook), **wish)
        assert saved.status_code == 303, saved.text
        stale = await admin.send(hook, of=hook, seen="old", **wish)
        assert "Somebody changed this" in alerts(stale)
        assert (await admin.send(f"{hook}/test", of=hook)).status_code == 303
        (sent,) = await log(owner)
        assert (await admin.send(f"{hook}/deliveries/{sent['id']}/redeliver", of=hook)).status_code == 303
        assert "whsec_" in (await admin.send(f"{hook}/rotate", of=hook)).text
        times = {"from": "2026-11-27T08:00", "until": "2026-11-27T07:00"}
        assert "until" in alerts(await admin.send(f"{hook}/replay", of=hook, **times))
        assert (
            await admin.send(f"{hook}/replay", of=hook, **{**times, "until": "2026-11-27T09:00"})
        ).status_code == 303
        assert (await admin.send(hook, of=hook, seen=await admin.seen(hook), url=receiver.url, all="on")).is_redirect
        assert "switch it on first" in alerts(await admin.send(f"{hook}/test", of=hook))
        assert (await admin.get(f"{hook}?state=dead")).status_code == 200
        assert (await admin.send(f"{hook}/delete", of=hook)).status_code == 303
        assert (await admin.get(hook)).status_code == 404
    async with visiting(place.web, RESIDENT) as resident:
        assert (await resident.get(hooks)).status_code == 403


HOOKS = "/api/v1/desk/webhooks"


async def names(owner: Any) -> dict[str, int]:
    """Return the ids of the communities by name."""
    found = {}
    for name in ("a", "b"):
        ((found[name],),) = [row.values() for row in await rows(owner, name, "SELECT id FROM community WHERE id = $1")]
    return found


async def of_desk(owner: Any, query: str) -> list[dict[str, Any]]:
    """Return rows of the desk's own."""
    async with owner.transaction():
        await database.set_scope(owner, "provision")
        return [dict(row) for row in await owner.fetch(query)]


async def for_desk(pool: database.Pool, owner: Any, config: WebhookSettings, url: str, **wish: Any) -> tuple[int, str]:
    """Make an endpoint of the desk as an operator; return its id and its secret."""
    async with endpoints.acting(pool, None) as connection:
        asked = endpoints.Wish(url, wish.get("types"), wish.get("include", []))
        made, secret = await endpoints.create(connection, await operator(owner), None, asked, config)
    return made.id, secret


async def operator(owner: Any) -> User:
    async with owner.transaction():
        await database.set_scope(owner, "identity")
        return User(await owner.fetchval("SELECT id FROM app_user WHERE email = $1", DESK))


async def test_the_desk_s_webhook_gets_the_events_of_all_communities_and_theirs_gets_its_own(
    pool: Any, owner: Any, here: WebhookSettings, receiver: Receiver
) -> None:
    communities = await names(owner)
    await endpoint(pool, owner, here, receiver.url + "/a")
    hook, secret = await for_desk(pool, owner, here, receiver.url + "/desk", types=["booking.created"])
    for name, number in communities.items():
        await happened(pool, number, what=f"booking/{number}", note=name)
        await happened(pool, number, "booking.cancelled")
    # Twice routed: each endpoint is sent it once.
    async with database.in_community(pool, communities["a"]) as connection:
        row = await connection.fetchrow("SELECT id, event_id, type, object, at FROM event ORDER BY id LIMIT 1")
        await webhooks.enqueue(connection, communities["a"], [events.Event(**row, data={})])
    worker = work(pool, here)
    await send_all(worker)
    got = [(request.path, json.loads(request.body)) for request in receiver.received]
    bookings = [(path, body["data"]) for path, body in got if body["type"] == "booking.created"]
    assert sorted(bookings, key=str) == [
        ("/in/a", {"community": "a", "booking": communities["a"], "note": "a"}),
        *(("/in/desk", {"community": n, "booking": i, "note": n}) for n, i in communities.items()),
    ]
    assert [path for path, body in got if body["type"] == "booking.cancelled"] == ["/in/a"]
    assert all(signed(request, secret) == (request.path == "/in/desk") for request in receiver.received)
    receiver.received.clear()
    person = await operator(owner)
    async with endpoints.acting(pool, None) as connection:
        present = await endpoints.read(connection, None, hook)
        assert present is not None
        sent = await deliveries.listed(connection, None, hook, limit=9, state="delivered")
        assert len(sent) == 2
        assert await deliveries.redeliver(connection, person, None, present, sent[0].id)
        # One waits already; the other community's is sent again.
        assert await deliveries.replay(connection, person, None, present, AT, AT + timedelta(hours=1)) == 1
        await deliveries.test(connection, person, None, present)
    await send_all(worker)
    assert sorted(json.loads(request.body)["data"].get("community", "") for request in receiver.received) == [
        "", "a", "b",
    ]  # fmt: skip


async def test_the_desk_s_webhook_stops_and_its_maker_gets_a_mail(
    pool: Any, owner: Any, here: WebhookSettings, receiver: Receiver
) -> None:
    hook, _ = await for_desk(pool, owner, here, receiver.url)
    for number in (await names(owner)).values():
        await happened(pool, number)
    receiver.answers = ["410 Gone"] * 2
    await send_all(work(pool, here))
    (row,) = await of_desk(owner, "SELECT enabled, stopped_why FROM webhook_endpoint")
    assert row == {"enabled": False, "stopped_why": "gone"}
    async with owner.transaction():
        await database.set_scope(owner, "identity")
        mails = await owner.fetch("SELECT recipient, payload FROM message WHERE kind = 'webhook-stopped'")
    assert [mail["recipient"] for mail in mails] == [DESK]
    payload = json.loads(mails[0]["payload"])
    assert payload["path"] == f"/webhooks/{hook}"
    for code, subject in (("en", "Webhook of the desk switched off"), ("es", "Webhook de la central")):
        assert contents.of("webhook-stopped", payload, language(code), "https://x.example").subject.startswith(subject)
    async with database.at_desk(pool) as connection:
        trail = await connection.fetch(
            "SELECT action FROM audit_entry WHERE object = $1 ORDER BY id", f"webhook/{hook}"
        )
    assert [entry["action"] for entry in trail] == ["webhook.create", "webhook.stop"]


async def test_what_the_desk_is_sent_ends_with_its_community(
    pool: Any, owner: Any, here: WebhookSettings, receiver: Receiver
) -> None:
    hook, _ = await for_desk(pool, owner, here, receiver.url)
    for number in (await names(owner)).values():
        await happened(pool, number)
    await of_desk(owner, "UPDATE community SET offboarded_at = now() WHERE name = 'a' RETURNING id")
    await send_all(work(pool, here))
    assert [json.loads(request.body)["data"]["community"] for request in receiver.received] == ["b"]
    given_up = await of_desk(owner, "SELECT last_error FROM webhook_delivery WHERE dead_at IS NOT NULL")
    assert [row["last_error"] for row in given_up] == ["the community was offboarded"]
    # Its deletion takes what was written of it, past the security of rows.
    (late,) = await of_desk(
        owner, "INSERT INTO community (name, title, time_zone) VALUES ('late', 'Late', 'UTC') RETURNING id"
    )
    async with endpoints.acting(pool, None) as connection:
        await connection.execute(
            "INSERT INTO webhook_delivery (about, endpoint_id, event_id, type, at)"
            " VALUES ($1, $2, gen_random_uuid(), 'booking.created', now())",
            late["id"],
            hook,
        )
    async with owner.transaction():
        await database.set_scope(owner, "retention")
        assert await owner.execute("DELETE FROM community WHERE id = $1", late["id"]) == "DELETE 1"
    assert late["id"] not in [row["about"] for row in await of_desk(owner, "SELECT about FROM webhook_delivery")]


async def test_only_the_desk_sees_its_webhooks(people: Callable[[str], Any], owner: Any, filled: Database) -> None:
    desk, admin = await people(DESK), await people(ADMIN)
    made = (await desk.post(HOOKS, json={"url": "https://hooks.example/", "enabled": False})).json()
    assert [item["id"] for item in (await desk.get(HOOKS)).json()["items"]] == [made["id"]]
    assert (await desk.get(f"{A}/webhooks")).json()["items"] == []
    for address in (HOOKS, f"{HOOKS}/{made['id']}", f"{A}/webhooks/{made['id']}"):
        assert (await admin.get(address)).status_code == 404
    assert (await desk.get(f"{A}/webhooks/{made['id']}")).status_code == 404
    own = (await admin.post(f"{A}/webhooks", json={"url": "https://hooks.example/", "enabled": False})).json()
    assert (await desk.get(f"{HOOKS}/{own['id']}")).status_code == 404
    key = (await admin.post(f"{A}/api-keys", json={"name": "all", "role": "administrator"})).json()["token"]
    refused = await admin.get(HOOKS, headers={"Authorization": f"Bearer {key}"})
    assert refused.status_code == 403
    # Whatever the code asks for, the database shows a community nothing of the desk's.
    async with database.create_pool(filled.app, "test", 1) as pool:
        for number in (await names(owner)).values():
            async with database.in_community(pool, number) as connection:
                found = await connection.fetch("SELECT id FROM webhook_endpoint")
                assert made["id"] not in [row["id"] for row in found]
                assert await connection.execute("DELETE FROM webhook_endpoint WHERE community_id IS NULL") == "DELETE 0"
        async with database.at_desk(pool) as connection:
            assert [row["id"] for row in await connection.fetch("SELECT id FROM webhook_endpoint")] == [made["id"]]


async def test_the_life_of_the_desk_s_webhook_on_pages(place: Server, owner: Any, receiver: Receiver) -> None:
    async with visiting(place.web, DESK) as desk:
        made = await desk.send("/webhooks", of="/webhooks", url=receiver.url, all="on")
        assert re.search(r"whsec_[A-Za-z0-9+/]{43}=", html.unescape(made.text))
        (hook,) = await of_desk(owner, "SELECT id FROM webhook_endpoint")
        page = f"/webhooks/{hook['id']}"
        assert page in (await desk.get("/webhooks")).text
        wish = {"url": receiver.url, "all": "on", "plate": "on", "enabled": "on"}
        assert (await desk.send(page, of=page, seen=await desk.seen(page), **wish)).status_code == 303
        assert "Somebody changed this" in alerts(await desk.send(page, of=page, seen="old", **wish))
        sent = await desk.send(f"{page}/test", of=page)
        assert (sent.status_code, sent.headers["location"]) == (303, f"{page}?done=webhook-sent")
        shown = await desk.get(page)
        assert shown.text.count('data-testid="delivery"') == 1
        assert "All times are UTC" in shown.text
        (delivery,) = await of_desk(owner, "SELECT id FROM webhook_delivery")
        assert (await desk.send(f"{page}/deliveries/{delivery['id']}/redeliver", of=page)).status_code == 303
        assert "whsec_" in (await desk.send(f"{page}/rotate", of=page)).text
        times = {"from": "2026-11-27T07:00", "until": "2026-11-27T08:00"}
        assert (await desk.send(f"{page}/replay", of=page, **times)).status_code == 303
        assert (await desk.send(f"{page}/delete", of=page)).status_code == 303
        assert (await desk.get(page)).status_code == 404
    async with visiting(place.web, ADMIN) as admin:
        assert (await admin.get("/webhooks")).status_code == 404


async def test_passages_become_events_where_the_desk_wants_them(
    pool: Any,
    owner: Any,
    here: WebhookSettings,
    receiver: Receiver,
    gateway: Callable[[str], httpx.AsyncClient],
) -> None:
    """The server under test has a worker that asks by itself who wants passages."""

    async def made() -> list[Any]:
        return await rows(owner, "a", "SELECT FROM event WHERE community_id = $1 AND type = 'passage.granted'")

    await for_desk(pool, owner, here, receiver.url)
    assert await webhooks.that_want_passages(pool) == {None}
    async with gateway("gateway-a") as client:
        answer = await client.post("/edge/v1/events", json={"epoch": 1, "events": [granted(1)]})
        assert answer.status_code == 200, answer.text
    async with asyncio.timeout(20):
        while not await made():  # noqa: ASYNC110 -- it becomes true in another process
            await asyncio.sleep(0.1)


async def test_the_desk_has_no_more_webhooks_than_it_may(pool: Any, here: WebhookSettings, receiver: Receiver) -> None:
    async def make() -> None:
        async with endpoints.acting(pool, None) as connection:
            await endpoints.create(connection, User(1), None, endpoints.Wish(receiver.url, None, []), here)

    done = await asyncio.gather(*(make() for _ in range(endpoints.MOST + 3)), return_exceptions=True)
    assert [str(error) for error in done if error is not None] == [
        "409: There are as many webhooks as there may be; delete one first."
    ] * 3
