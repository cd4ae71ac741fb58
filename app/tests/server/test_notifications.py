"""Who is told of what by e-mail, when, and how they end it."""

import asyncio
import re
import time
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime, timedelta
from mailbox import Mailbox, text
from typing import Any
from zoneinfo import ZoneInfo

import httpx
import pytest
from icalendar import Calendar
from page_visitor import Visitor, visiting
from parkmesh.protocol import edge
from parkmesh.server.db import database
from parkmesh.server.edge import ingest
from parkmesh.server.identity import principals
from parkmesh.server.notifications import digests, outages, unsubscribing
from parkmesh.server.notifications.unsubscribing import Unsubscribing
from parkmesh.server.outbox import messages
from running_server import Database, Server
from two_communities import TOKENS, rows

People = Callable[[str], Any]
A = "/api/v1/communities/a"
ADMIN, RESIDENT, DESK = "administrator@a.example", "resident@a.example", "desk@parkmesh.example"


@pytest.fixture
def server(mailing: Server) -> Server:
    """Return the server that sends mails, for the clients of the other fixtures."""
    return mailing


@pytest.fixture
async def pool(filled: Database) -> AsyncIterator[database.Pool]:
    async with database.create_pool(filled.app, "test", 4) as made:
        yield made


@pytest.fixture
async def booking(people: People) -> dict[str, Any]:
    """Return a booking that the resident made for tomorrow."""
    admin, resident = await people(ADMIN), await people(RESIDENT)
    shared = {"level": "P1", "category": "shared"}
    answer = await admin.patch(f"{A}/spaces/a-03", json=shared, headers={"If-Match": "*"})
    assert answer.status_code == 200, answer.text
    hour = datetime.now(UTC).replace(minute=0, second=0, microsecond=0)
    window = {"from": (hour + timedelta(hours=24)).isoformat(), "until": (hour + timedelta(hours=26)).isoformat()}
    made = await resident.post(f"{A}/bookings", json={"space": "a-03", **window})
    assert made.status_code == 201, made.text
    found: dict[str, Any] = made.json()
    return found


async def cancel(client: httpx.AsyncClient, booking: dict[str, Any], **body: str) -> None:
    answer = await client.post(f"{A}/bookings/{booking['id']}/cancel", json=body, headers={"If-Match": "*"})
    assert answer.status_code == 200, answer.text


async def saw(client: httpx.AsyncClient, seq: int, **passage: Any) -> None:
    """Send what a gateway saw at its entry a moment ago."""
    event = {
        "type": "passage", "seq": seq, "times": {"received": int(time.time() * 1000)}, "gate": "main-in",
        "direction": "entry", "opened": True, "decision": "granted", "reason": "exact", **passage,
    }  # fmt: skip
    answer = await client.post("/edge/v1/events", json={"epoch": 1, "events": [event]})
    assert answer.status_code == 200, answer.text


async def settled(owner: Any) -> None:
    """Wait until messages are made of all events, and all that are due are sent."""
    for _ in range(200):
        waiting = await rows(owner, "a", "SELECT FROM event WHERE community_id = $1 AND routed_at IS NULL")
        unsent = await rows(
            owner, "a", "SELECT FROM message WHERE community_id = $1 AND delivered_at IS NULL AND due_at < now()"
        )
        behind = await rows(
            owner,
            "a",
            """
            SELECT FROM gateway g LEFT JOIN event_progress p ON p.community_id = $1 AND p.gateway_id = g.id
            WHERE g.community_id = $1 AND (g.epoch, g.acked) > (coalesce(p.epoch, 0), coalesce(p.seq, 0))
            """,
        )
        if not waiting and not unsent and not behind:
            return
        await asyncio.sleep(0.05)
    raise AssertionError("events are still waiting")


async def test_a_resident_is_told_of_a_space_that_is_offered_to_be_their_own(
    people: People, box: Mailbox, owner: Any
) -> None:
    admin, resident = await people(ADMIN), await people(RESIDENT)
    asked = await resident.post(f"{A}/space-requests", json={})
    assert asked.status_code == 201, asked.text
    given = await admin.post(f"{A}/space-offers", json={"space": "a-02"})
    assert given.status_code == 200, given.text
    (offered,) = await box.received(1)
    assert (offered["To"], offered["Subject"]) == (RESIDENT, "A space of your own is offered to you: a-02")
    assert "http://park.test/communities/a/own-space" in text(offered)
    # Who declines knows it: nothing more is sent.
    declined = await resident.post(f"{A}/space-requests/{asked.json()['id']}/decline")
    assert declined.json()["state"] == "waiting", declined.text
    await settled(owner)
    assert len(box.mails) == 1


async def test_a_resident_is_told_of_their_booking_and_of_its_end_by_others(
    people: People, booking: dict[str, Any], box: Mailbox, owner: Any
) -> None:
    (made,) = await box.received(1)
    assert (made["To"], made["Subject"]) == (RESIDENT, "Your booking: space a-03")
    assert f"http://park.test/communities/a/book/{booking['id']}" in text(made)
    (attached,) = made.iter_attachments()
    (entry,) = Calendar.from_ical(attached.get_payload(decode=True)).walk("VEVENT")
    assert (str(entry["UID"]), entry["SEQUENCE"]) == (f"booking-{booking['id']}@a.park.test", 0)
    assert entry["DTSTART"].dt == datetime.fromisoformat(booking["from"])
    await cancel(await people(ADMIN), booking, reason="The hall is painted")
    *_, cancelled = await box.received(2)
    assert (cancelled["To"], cancelled["Subject"]) == (RESIDENT, "Your booking was cancelled: space a-03")
    assert "The reason: The hall is painted" in text(cancelled)
    await settled(owner)
    # What was told is not kept.
    kept = await rows(owner, "a", "SELECT payload FROM message WHERE community_id = $1")
    assert {row["payload"] for row in kept} == {"{}"}


async def test_nobody_is_told_of_what_they_did_themselves(
    people: People, booking: dict[str, Any], box: Mailbox, owner: Any
) -> None:
    await box.received(1)
    await cancel(await people(RESIDENT), booking)
    await settled(owner)
    assert len(box.mails) == 1


async def test_who_waits_is_told_of_a_space_that_is_offered(
    people: People, booking: dict[str, Any], box: Mailbox, owner: Any
) -> None:
    await box.received(1)
    (unit,) = await rows(owner, "a", "SELECT id FROM unit WHERE community_id = $1 AND name = '2B'")
    (waits,) = await rows(
        owner,
        "a",
        """
        INSERT INTO waiting (community_id, unit_id, resident_id, starts_at, ends_at, ev, accessible)
        SELECT $1, r.unit_id, (SELECT resident_id FROM membership WHERE community_id = $1 AND resident_id IS NOT NULL),
               $3, $4, false, false
        FROM resident r WHERE r.community_id = $1 AND r.unit_id = $2 RETURNING id
        """,
        unit["id"],
        datetime.fromisoformat(booking["from"]),
        datetime.fromisoformat(booking["until"]),
    )
    assert waits
    await cancel(await people(ADMIN), booking, reason="The hall is painted")
    mails = await box.received(3)
    (offer,) = [mail for mail in mails if mail["Subject"] == "A space is free for you: a-03"]
    assert "It is held for you until" in text(offer)


async def test_a_visitor_s_arrival_is_told_once(
    people: People, gateway: Callable[[str], httpx.AsyncClient], box: Mailbox, owner: Any
) -> None:
    resident, now = await people(RESIDENT), datetime.now(UTC)
    window = {"from": now.isoformat(), "until": (now + timedelta(hours=4)).isoformat()}
    made = await resident.post(f"{A}/visitor-passes", json={"name": "Eva", "plate": "9999XYZ", **window})
    assert made.status_code == 201, made.text
    (credential,) = await rows(
        owner, "a", "SELECT id FROM credential WHERE community_id = $1 AND visitor_pass_id IS NOT NULL"
    )
    async with gateway("gateway-a") as client:
        for seq in (1, 2):
            await saw(client, seq, plate="9999XYZ", credential_id=str(credential["id"]))
    (mail,) = await box.received(1)
    assert (mail["To"], mail["Subject"]) == (RESIDENT, "Eva has arrived")
    assert "Main entry" in text(mail)
    await settled(owner)
    assert len(box.mails) == 1
    (told,) = await rows(owner, "a", "SELECT * FROM event WHERE community_id = $1 AND type = 'visitor_pass.first_used'")
    assert "9999XYZ" not in str(told)
    assert "Eva" not in str(told)


async def test_a_refusal_is_told_once_for_a_car_that_waits(
    gateway: Callable[[str], httpx.AsyncClient], box: Mailbox, owner: Any
) -> None:
    (credential,) = await rows(owner, "a", "SELECT id FROM credential WHERE community_id = $1 AND plate = '1234BCD'")
    refused = {"decision": "denied", "reason": "revoked", "opened": None, "credential_id": str(credential["id"])}
    async with gateway("gateway-a") as client:
        for seq in (1, 2, 3):
            await saw(client, seq, plate="1234BCD", **refused)
        await saw(client, 4, plate="0000XXX", decision="denied", reason="unknown_plate", opened=None)
        # What an offline gateway tells of yesterday is no news.
        yesterday = {"received": int(time.time() * 1000) - 86_400_000}
        await saw(client, 5, plate="1234BCD", times=yesterday, gate="main-out", direction="exit", **refused)
    (mail,) = await box.received(1)
    assert (mail["To"], mail["Subject"]) == (RESIDENT, "1234 BCD was refused at Main entry")
    assert "Access revoked" in text(mail)
    await settled(owner)
    assert len(box.mails) == 1


async def test_administrators_are_told_who_waits_for_an_erasure(
    people: People, box: Mailbox, resident: Visitor, owner: Any
) -> None:
    await resident.send("/communities/a/my-data/erasure", of="/account", wanted="yes")
    (mail,) = await box.received(1)
    assert mail["To"] == ADMIN
    assert "http://park.test/communities/a/people/" in text(mail)


async def test_the_desk_is_told_once_of_a_gateway_that_is_offline(
    server: Server, box: Mailbox, pool: database.Pool, owner: Any
) -> None:
    heard = "UPDATE gateway SET last_heartbeat_at = now() - $2::interval, last_events_at = NULL WHERE community_id = $1"
    await rows(owner, "a", f"{heard} RETURNING id", timedelta(minutes=14))
    await outages.look(pool)
    await rows(owner, "a", f"{heard} RETURNING id", timedelta(minutes=16))
    await asyncio.gather(*(outages.look(pool) for _ in range(3)))
    (mail,) = await box.received(1)
    assert (mail["To"], mail["Subject"]) == (DESK, "Gateway gateway-a is offline: Community A")
    await rows(owner, "a", f"{heard} RETURNING id", timedelta())
    await asyncio.gather(*(outages.look(pool) for _ in range(3)))
    await settled(owner)
    types = [
        row["type"] for row in await rows(owner, "a", "SELECT type FROM event WHERE community_id = $1 ORDER BY id")
    ]
    assert types == ["gateway.offline", "gateway.online"]
    assert len(box.mails) == 1


async def test_the_digest_comes_once_and_tells_of_the_day_before(
    pool: database.Pool, owner: Any, monkeypatch: Any
) -> None:
    monkeypatch.setattr(digests, "AT", datetime.min.time())
    # A community of today has no day before. The tests' own may be from before midnight.
    await rows(owner, "a", "UPDATE community SET created_at = now() WHERE id = $1 RETURNING id")
    await digests.send_due(pool)
    sent = "SELECT recipient, payload FROM message WHERE community_id = $1 AND kind = 'digest'"
    assert await rows(owner, "a", "SELECT FROM digest WHERE community_id = $1") == []
    for community in ("a", "b"):
        older = "UPDATE community SET created_at = now() - interval '2 days' WHERE id = $1 RETURNING id"
        await rows(owner, community, older)
    now = int(time.time() * 1000)
    refused = [
        edge.Passage(seq, edge.Times(at), "main-in", "entry", "0000XXX", "denied", "unknown_plate")
        for seq, at in ((1, now - 86_400_000), (2, now))
    ]
    await ingest.store(pool, principals.digest(TOKENS["gateway-a"]), edge.EventBatch(1, list(refused)))
    await asyncio.gather(*(digests.send_due(pool) for _ in range(4)))
    (mail,) = await rows(owner, "a", sent)
    assert mail["recipient"] == ADMIN
    assert await rows(owner, "b", sent) == []
    day = (datetime.now(ZoneInfo("Europe/Madrid")) - timedelta(days=1)).date()
    (place,) = await rows(owner, "a", "SELECT id FROM community WHERE id = $1")
    async with database.in_community(pool, place["id"]) as connection:
        counts = await digests.of_day(connection, place["id"], day, ZoneInfo("Europe/Madrid"))
    assert counts == {"granted": 0, "denied": 1, "bookings": 0, "visitors": 0, "erasures": 0, "offline": 0}


async def test_an_e_mail_is_ended_with_one_click_and_chosen_again(
    people: People, booking: dict[str, Any], box: Mailbox, server: Server, owner: Any
) -> None:
    (mail,) = await box.received(1)
    assert mail["List-Unsubscribe-Post"] == "List-Unsubscribe=One-Click"
    link = re.fullmatch(r"<http://park\.test(/unsubscribe/\S+)>", mail["List-Unsubscribe"])
    assert link
    assert link[1] in text(mail)
    resident = await people(RESIDENT)
    async with httpx.AsyncClient(base_url=server.web) as program:
        # A program that looks at links ends nothing.
        assert (await program.get(link[1])).status_code == 200
        assert (await resident.get(f"{A}/notification-preferences")).json()["e_mails"]["booking-made"]
        for form in ({"data": {"List-Unsubscribe": "One-Click"}}, {"files": {"List-Unsubscribe": (None, "One-Click")}}):
            ended = await program.post(link[1], **form)
            assert ended.status_code == 200, ended.text
        assert (await program.post("/unsubscribe/AAAA", data={"a": "b"})).status_code == 404
    wanted = (await resident.get(f"{A}/notification-preferences")).json()["e_mails"]
    assert wanted == {
        "booking-made": False,
        "booking-cancelled": True,
        "space-offered": True,
        "visitor-arrived": True,
        "plate-refused": True,
    }
    moved = {
        "from": booking["from"],
        "until": (datetime.fromisoformat(booking["until"]) + timedelta(hours=1)).isoformat(),
    }
    answer = await resident.put(f"{A}/bookings/{booking['id']}", json=moved, headers={"If-Match": "*"})
    assert answer.status_code == 200, answer.text
    await settled(owner)
    assert len(box.mails) == 1
    back = await resident.patch(f"{A}/notification-preferences", json={"e_mails": {"booking-made": True}})
    assert back.json()["e_mails"]["booking-made"]
    strange = await resident.patch(f"{A}/notification-preferences", json={"e_mails": {"digest": True}})
    assert strange.status_code == 422


async def test_in_quiet_hours_an_e_mail_waits(server: Server, resident: Visitor, owner: Any, people: People) -> None:
    now = datetime.now(ZoneInfo("Europe/Madrid"))
    starts, ends = now - timedelta(hours=1), now + timedelta(hours=2)
    hours = {"quiet_from": f"{starts:%H:%M}", "quiet_until": f"{ends:%H:%M}"}
    await resident.send("/account/e-mails", of="/account/e-mails", **hours)
    assert f'value="{starts:%H:%M}"' in (await resident.get("/account/e-mails")).text
    refused = await resident.send("/account/e-mails", of="/account/e-mails", quiet_from="22:00", quiet_until="")
    assert "Enter both times" in refused.text
    admin, hour = await people(ADMIN), datetime.now(UTC).replace(minute=0, second=0, microsecond=0)
    await admin.patch(f"{A}/spaces/a-03", json={"level": "P1", "category": "shared"}, headers={"If-Match": "*"})
    window = {"from": (hour + timedelta(hours=24)).isoformat(), "until": (hour + timedelta(hours=26)).isoformat()}
    client = await people(RESIDENT)
    # The page switched all kinds off: no box was ticked.
    await client.patch(f"{A}/notification-preferences", json={"e_mails": {"booking-made": True}})
    assert (await client.post(f"{A}/bookings", json={"space": "a-03", **window})).status_code == 201
    await settled(owner)
    (waits,) = await rows(owner, "a", "SELECT due_at, delivered_at FROM message WHERE community_id = $1")
    assert waits["delivered_at"] is None
    assert waits["due_at"].astimezone(UTC) == ends.replace(second=0, microsecond=0).astimezone(UTC)


async def test_a_server_of_the_release_before_sees_only_what_it_can_make(filled: Database, owner: Any) -> None:
    (place,) = await rows(owner, "a", "SELECT id FROM community WHERE id = $1")
    async with owner.transaction():
        await database.set_community(owner, place["id"])
        for kind in ("invitation", "digest"):
            await messages.mail(owner, place["id"], kind, [messages.Mail("eva@home.example", "en", {})])
    async with database.create_pool(filled.app, "test", 1) as pool, pool.acquire() as connection:
        for scope, seen in (("outbox", {"invitation"}), ("mails", {"invitation", "digest"})):
            async with connection.transaction():
                await connection.execute("SELECT set_config('parkmesh.scope', $1, true)", scope)
                assert {row["kind"] for row in await connection.fetch("SELECT kind FROM message")} == seen


def test_an_address_that_ends_e_mails_can_t_be_made_without_the_secret() -> None:
    ended = Unsubscribing(7, None, "gateway-offline")
    token = unsubscribing.token("a secret of the servers", ended)
    assert unsubscribing.read("a secret of the servers", token) == ended
    assert unsubscribing.read("another secret", token) is None
    for strange in ("", "é", token[:-2], "A" * 80):
        assert unsubscribing.read("a secret of the servers", strange) is None


async def test_the_page_shows_what_is_for_the_reader(server: Server) -> None:
    for email, kinds in ((DESK, {"gateway-offline"}), (ADMIN, {"erasure-asked", "digest"})):
        async with visiting(server.web, email) as visitor:
            page = (await visitor.get("/account/e-mails")).text
            assert set(re.findall(r'type="checkbox"[^>]* value="([^"]+)" checked', page)) == kinds
