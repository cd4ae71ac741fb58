"""What residents and their visitors do on the pages, and what pages say in Spanish where something is refused."""

import asyncio
import html
import json
import re
from collections.abc import AsyncIterator, Callable
from datetime import datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import httpx
import pytest
from gateway_stream import frames, listed
from page_visitor import Visitor, alerts, visiting
from parkmesh.server.commands import run
from parkmesh.server.http import sockets
from running_server import Server, settings
from test_csv import MISTAKES
from two_communities import rows

Gateway = Callable[[str], httpx.AsyncClient]
ADMIN, RESIDENT, NEIGHBOUR = "administrator@a.example", "resident@a.example", "administrator@b.example"
MADRID = ZoneInfo("Europe/Madrid")
SPANISH = {"Accept-Language": "es-ES"}
A = "/communities/a"


def tomorrow(hour: int, minute: int = 0) -> str:
    """Return a time of tomorrow as a form takes it."""
    day = datetime.now(MADRID).date() + timedelta(days=1)
    return f"{day.isoformat()}T{hour:02}:{minute:02}"


def window(begin: int, end: int) -> dict[str, str]:
    return {"from": tomorrow(begin), "until": tomorrow(end)}


async def one(owner: Any, query: str, *arguments: Any) -> dict[str, Any]:
    (row,) = await rows(owner, "a", query, *arguments)
    return row


# A resident's own data


async def test_a_resident_downloads_what_is_kept_of_him(resident: Visitor, owner: Any) -> None:
    # The menu of every page leads there, and the page where the data was before.
    for before in (A, "/account"):
        assert 'href="/account/data"' in (await resident.get(before)).text
    page = await resident.get("/account/data")
    found = re.search(r'href="([^"]+/personal-data)" download="a-personal-data.json"', page.text)
    assert found
    data = (await resident.get(html.unescape(found[1]))).json()
    assert data["resident"]["email"] == RESIDENT
    assert [item["plate"] for item in data["credentials"]] == ["1234BCD"]
    acts = await rows(owner, "a", "SELECT action FROM audit_entry WHERE community_id = $1")
    assert acts == [{"action": "resident.export"}]


async def test_a_resident_asks_for_erasure_and_the_administrators_see_it(
    resident: Visitor, admin: Visitor, owner: Any
) -> None:
    me = (await one(owner, "SELECT id FROM resident WHERE community_id = $1 AND email = $2", RESIDENT))["id"]
    assert "Asks to be erased" not in (await admin.get(f"{A}/people")).text
    # Asking a second time changes nothing.
    for _ in range(2):
        answer = await resident.send(f"{A}/my-data/erasure", of="/account/data", wanted="yes")
        assert answer.headers["location"] == "/account/data?done=erasure-asked"
    assert "for your data to be erased" in (await resident.get("/account/data")).text
    # Nobody has to look for it: it is on the first page that administrators open, and above every page of the list.
    live = await admin.get(A)
    assert "1 person asks for their data to be erased." in live.text
    for query in ("", "?q=nobody-of-this-name"):
        page = (await admin.get(f"{A}/people{query}")).text
        section = page[page.index('data-testid="erasure-requests"') : page.index('role="search"')]
        assert f'href="{A}/people/{me}/data"' in section
    for path in ("people", f"people/{me}"):
        assert "Asks to be erased" in (await admin.get(f"{A}/{path}")).text
    answer = await resident.send(f"{A}/my-data/erasure", of="/account/data", wanted="no")
    assert answer.headers["location"] == "/account/data?done=erasure-taken-back"
    assert "Asks to be erased" not in (await admin.get(f"{A}/people")).text
    assert 'data-testid="erasure' not in (await admin.get(f"{A}/people")).text + (await admin.get(A)).text
    acts = await rows(owner, "a", "SELECT action, object FROM audit_entry WHERE community_id = $1 ORDER BY id")
    assert acts == [{"action": f"resident.{act}", "object": f"resident/{me}"} for act in ("ask-erasure", "keep")]


async def test_nobody_asks_for_somebody_else_s_erasure(people: Callable[[str], Any], owner: Any) -> None:
    found = await rows(owner, "a", "SELECT id, email FROM resident WHERE community_id = $1")
    numbers = {row["email"]: row["id"] for row in found}
    api, body = f"/api/v1{A}/residents", {"wanted": True}
    resident, admin, stranger = [await people(who) for who in (RESIDENT, ADMIN, NEIGHBOUR)]
    luis = f"{api}/{numbers['luis@a.example']}/erasure-request"
    assert (await resident.put(luis, json=body)).status_code == 404
    assert (await admin.put(luis, json=body)).status_code == 404
    assert (await stranger.put(luis, json=body)).status_code == 404
    own = await resident.put(f"{api}/{numbers[RESIDENT]}/erasure-request", json=body)
    assert (own.status_code, own.json()["erasure_asked_at"] is not None) == (200, True)


# Changing what there is


async def test_a_vehicle_gets_another_plate_and_name(resident: Visitor, owner: Any) -> None:
    vehicle = (await one(owner, "SELECT id FROM credential WHERE community_id = $1 AND plate = '1234BCD'"))["id"]
    path = f"{A}/vehicles/{vehicle}"
    assert f'href="{path}"' in (await resident.get(f"{A}/vehicles")).text
    old = await resident.seen(path)
    answer = await resident.send(path, of=path, seen=old, plate="4321-zzz", label="Red van")
    assert answer.headers["location"] == f"{A}/vehicles?done=vehicle-changed"
    page = await resident.get(f"{A}/vehicles")
    assert 'data-plate="4321ZZZ"' in page.text
    assert "Red van" in page.text
    stale = await resident.send(path, of=path, seen=old, plate="1111AAA", label="")
    assert stale.status_code == 422
    assert "Somebody changed this in the meantime" in alerts(stale)
    # It shows what holds now, so that the next attempt is made knowing it.
    assert 'value="4321ZZZ"' in stale.text
    taken = await resident.send(path, of=path, seen=await resident.seen(path), plate="5678AXX", label="Mine")
    assert taken.status_code == 422
    assert "can't be added here" in alerts(taken)
    assert 'value="5678AXX"' in taken.text
    wrong = await resident.send(path, of=path, seen=await resident.seen(path), plate="%", label="")
    assert "not a licence plate" in alerts(wrong)


async def test_nobody_changes_a_neighbour_s_vehicle(resident: Visitor, owner: Any) -> None:
    vehicle = (await one(owner, "SELECT id FROM credential WHERE community_id = $1 AND plate = '5678AXX'"))["id"]
    assert (await resident.get(f"{A}/vehicles/{vehicle}")).status_code == 404
    answer = await resident.send(f"{A}/vehicles/{vehicle}", of="/account", seen="*", plate="1111AAA", label="")
    assert answer.status_code == 404


async def test_a_booking_moves_and_names_what_is_in_its_way(resident: Visitor, admin: Visitor, owner: Any) -> None:
    await admin.send(f"{A}/spaces", of=f"{A}/spaces", name="s-01", level="P1", category="shared")
    for begin, end in ((9, 11), (13, 15)):
        times = window(begin, end)
        page = f"{A}/book?from={times['from']}&until={times['until']}"
        answer = await resident.send(f"{A}/book", of=page, space="s-01", **times)
        assert answer.status_code == 303, alerts(answer)
    found = await rows(owner, "a", "SELECT id FROM booking WHERE community_id = $1 ORDER BY starts_at")
    path = f"{A}/book/{found[0]['id']}"
    assert f'href="{path}"' in (await resident.get(f"{A}/book")).text
    old = await resident.seen(path)
    refused = await resident.send(path, of=path, seen=old, **window(10, 14))
    assert refused.status_code == 422
    assert "Somebody booked the space in that time." in alerts(refused)
    # Not its own window, which it overlaps too.
    assert re.search(r"Taken: .*13:00-15:00", alerts(refused))
    moved = await resident.send(path, of=path, seen=old, **window(10, 12))
    assert moved.headers["location"] == f"{A}/book?done=booking-moved"
    assert "10:00-12:00" in (await resident.get(f"{A}/book")).text
    stale = await resident.send(path, of=path, seen=old, **window(7, 8))
    assert "Somebody changed this in the meantime" in alerts(stale)
    again = await resident.seen(path)
    backwards = await resident.send(path, of=path, seen=again, **{"from": tomorrow(8), "until": tomorrow(7)})
    assert "The end must be after the beginning." in alerts(backwards)
    long = await resident.send(path, of=path, seen=again, **{"from": tomorrow(8), "until": "2199-01-01T00:00"})
    assert "A booking lasts 336 hours at most." in alerts(long)
    acts = await rows(owner, "a", "SELECT action FROM audit_entry WHERE community_id = $1 AND action ~ '^booking'")
    assert [act["action"] for act in acts] == ["booking.create", "booking.create", "booking.change"]


async def test_a_booking_that_has_begun_keeps_its_beginning_and_ends_elsewhen(
    resident: Visitor, admin: Visitor, owner: Any
) -> None:
    await admin.send(f"{A}/spaces", of=f"{A}/spaces", name="s-01", level="P1", category="shared")
    times = window(9, 11)
    page = f"{A}/book?from={times['from']}&until={times['until']}"
    await resident.send(f"{A}/book", of=page, space="s-01", **times)
    booking = await one(
        owner,
        """
        UPDATE booking SET starts_at = now() - interval '5 hours 7 seconds', ends_at = now() + interval '1 hour'
        WHERE community_id = $1 RETURNING id, starts_at
        """,
    )
    path = f"{A}/book/{booking['id']}"
    shown = re.search(r'name="from" type="datetime-local" value="([^"]+)"', (await resident.get(path)).text)
    assert shown
    mark = await resident.seen(path)
    moved = await resident.send(path, of=path, seen=mark, **{"from": shown[1], "until": tomorrow(9)})
    assert moved.status_code == 303, alerts(moved)
    kept = await one(owner, "SELECT starts_at, ends_at FROM booking WHERE community_id = $1")
    assert kept["starts_at"] == booking["starts_at"]
    assert kept["ends_at"].astimezone(MADRID).strftime("%Y-%m-%dT%H:%M") == tomorrow(9)
    earlier = datetime.fromisoformat(shown[1]) - timedelta(hours=1)
    mark = await resident.seen(path)
    refused = await resident.send(
        path, of=path, seen=mark, **{"from": earlier.strftime("%Y-%m-%dT%H:%M"), "until": tomorrow(9)}
    )
    assert "The time would begin in the past." in alerts(refused)


async def test_bookings_move_by_the_api_under_their_etag(people: Callable[[str], Any]) -> None:
    admin, resident = await people(ADMIN), await people(RESIDENT)
    spaces, bookings = f"/api/v1{A}/spaces", f"/api/v1{A}/bookings"
    made = await admin.post(spaces, json={"name": "s-01", "level": "P1", "category": "shared"})
    assert made.status_code == 201, made.text
    body = {name: f"{text}:00+01:00" for name, text in window(9, 11).items()}
    booked = await resident.post(bookings, json={"space": "s-01", **body})
    assert booked.status_code == 201, booked.text
    one_booking = f"{bookings}/{booked.json()['id']}"
    later = {name: f"{text}:00+01:00" for name, text in window(10, 12).items()}
    assert (await resident.put(one_booking, json=later)).status_code == 428
    moved = await resident.put(one_booking, json=later, headers={"If-Match": booked.headers["etag"]})
    assert (moved.status_code, moved.json()["until"] > booked.json()["until"]) == (200, True)
    stale = await resident.put(one_booking, json=body, headers={"If-Match": booked.headers["etag"]})
    assert stale.status_code == 412
    cancelled = await resident.post(f"{one_booking}/cancel", json={}, headers={"If-Match": "*"})
    assert cancelled.status_code == 200
    over = await resident.put(one_booking, json=body, headers={"If-Match": "*"})
    assert (over.status_code, over.json()["type"]) == (409, "urn:parkmesh:problem:over")


async def make_pass(visitor: Visitor, **fields: str) -> str:
    """Make a pass that is valid now; return the path of its link."""
    begin = (datetime.now(MADRID) - timedelta(minutes=5)).strftime("%Y-%m-%dT%H:%M")
    times = {"from": begin, "until": tomorrow(9)}
    page = await visitor.send(f"{A}/visitors", of=f"{A}/visitors", **{**times, **fields})
    found = re.search(r'href="https?://[^/"]+(/v/[^"]+)"', page.text)
    assert found, alerts(page)
    return found[1]


async def test_a_pass_gets_another_name_and_plate(resident: Visitor, owner: Any) -> None:
    await make_pass(resident, name="Paco")
    number = (await one(owner, "SELECT id FROM visitor_pass WHERE community_id = $1"))["id"]
    path = f"{A}/visitors/{number}"
    assert f'href="{path}"' in (await resident.get(f"{A}/visitors")).text
    old = await resident.seen(path)
    answer = await resident.send(path, of=path, seen=old, name="Tía Pilar", plate="9999 xyz")
    assert answer.headers["location"] == f"{A}/visitors?done=pass-changed"
    page = await resident.get(f"{A}/visitors")
    assert "Tía Pilar" in page.text
    # The gates know the plate that it has now.
    assert await one(
        owner, "SELECT plate FROM credential WHERE community_id = $1 AND visitor_pass_id = $2", number
    ) == {"plate": "9999XYZ"}
    stale = await resident.send(path, of=path, seen=old, name="Paco", plate="")
    assert "Somebody changed this in the meantime" in alerts(stale)
    await resident.send(f"{path}/cancel", of=f"{A}/visitors")
    assert 'name="plate"' not in (await resident.get(path)).text


# The visitor's page


async def test_administrators_write_what_visitors_are_told(admin: Visitor, resident: Visitor, server: Server) -> None:
    link = await make_pass(resident)
    path = f"{A}/directions"
    assert f'href="{path}"' in (await admin.get(f"{A}/gates")).text
    assert (await resident.get(path)).status_code == 403
    old = await admin.seen(path)
    text = "Calle Mayor 1, 46001 Valencia\r\n39.4699, -0.3763 <b>"
    answer = await admin.send(path, of=path, seen=old, directions=text)
    assert answer.headers["location"] == f"{path}?done=saved"
    async with visiting(server.web) as visitor:
        page = (await visitor.get(link)).text
        assert "Calle Mayor 1, 46001 Valencia\n39.4699, -0.3763 &lt;b&gt;" in page
    stale = await admin.send(path, of=path, seen=old, directions="Nowhere")
    assert "Somebody changed this in the meantime" in alerts(stale)
    assert "Calle Mayor" in stale.text
    for bad in ("x" * 2001, "a\x00b"):
        wrong = await admin.send(path, of=path, seen=await admin.seen(path), directions=bad)
        assert wrong.status_code == 422


# Opening a gate


async def let_open(people: Callable[[str], Any], who: str) -> None:
    admin = await people(ADMIN)
    rules = {f"{who}_open_gates": True}
    assert (await admin.patch(f"/api/v1{A}/rules", json=rules, headers={"If-Match": "*"})).status_code == 200


async def test_a_resident_opens_a_gate_and_the_gateway_hears_it(
    resident: Visitor, people: Callable[[str], Any], gateway: Gateway, owner: Any
) -> None:
    await let_open(people, "residents")
    assert 'data-testid="open-main-in"' in (await resident.get(A)).text
    async with gateway("gateway-a") as client, client.stream("GET", "/edge/v1/stream") as stream:
        heard = frames(stream)
        await asyncio.wait_for(anext(heard), 5)
        await listed(owner, "a")
        answer = await resident.send(f"{A}/my-gates/main-in/open", of=A)
        name, command = await asyncio.wait_for(anext(heard), 5)
        assert (name, command["gate"], command["reason"]) == ("command", "main-in", "resident")
        assert answer.headers["location"] == f"{A}?opening={command['id']}"
    assert "waiting for the gate" in (await resident.get(answer.headers["location"])).text


async def test_who_opens_gates_too_often_is_told_when_to_come_back(
    server: Server, people: Callable[[str], Any], connected: None
) -> None:
    await let_open(people, "residents")
    async with visiting(server.web, RESIDENT, **SPANISH) as resident:
        answers = [await resident.send(f"{A}/my-gates/main-in/open", of=A) for _ in range(5)]
    assert [answer.status_code for answer in answers] == [303, 303, 303, 303, 429]
    assert "Como máximo 4 aperturas por minuto." in alerts(answers[-1])
    assert 1 <= int(answers[-1].headers["retry-after"]) <= 60
    # The answer is the resident's own page again, with the button.
    assert 'data-testid="open-main-in"' in answers[-1].text


async def test_where_residents_may_not_open_gates_the_page_says_so_in_the_reader_s_language(server: Server) -> None:
    async with visiting(server.web, RESIDENT, **SPANISH) as resident:
        refused = await resident.send(f"{A}/my-gates/main-in/open", of="/account")
    assert refused.status_code == 403
    assert "Esta comunidad no permite que sus residentes abran puertas" in refused.text


async def test_a_visitor_opens_a_gate_by_his_link_where_the_rules_let_him(
    resident: Visitor, people: Callable[[str], Any], gateway: Gateway, server: Server, owner: Any
) -> None:
    link = await make_pass(resident)
    opened = f"{link}/gates/main-in/open"
    async with visiting(server.web, **SPANISH) as visitor:
        assert "open-main-in" not in (await visitor.get(link)).text
        refused = await visitor.send(opened, of=link)
        assert refused.status_code == 403
        assert "Esta comunidad no permite que sus visitas abran puertas" in refused.text
        await let_open(people, "visitors")
        assert "open-main-in" in (await visitor.get(link)).text
        async with gateway("gateway-a") as client, client.stream("GET", "/edge/v1/stream") as stream:
            heard = frames(stream)
            await asyncio.wait_for(anext(heard), 5)
            await listed(owner, "a")
            answer = await visitor.send(opened, of=link)
            name, command = await asyncio.wait_for(anext(heard), 5)
            assert (name, command["gate"], command["reason"]) == ("command", "main-in", "visitor")
            assert answer.headers["location"] == f"{link}?opening={command['id']}"
            answers = [await visitor.send(opened, of=link) for _ in range(4)]
        assert [answer.status_code for answer in answers] == [303, 303, 303, 429]
        assert "Como máximo 4 aperturas por minuto." in alerts(answers[-1])
        assert int(answers[-1].headers["retry-after"]) >= 1
        assert f'action="{link}"' in answers[-1].text
        assert (await visitor.send(f"{link}/gates/nowhere/open", of=link)).status_code == 404
    acts = await rows(owner, "a", "SELECT detail FROM audit_entry WHERE community_id = $1 AND action = 'gate.open'")
    assert {json.loads(act["detail"])["role"] for act in acts} == {"visitor"}
    assert len(acts) == 4


@pytest.mark.parametrize(
    ("change", "hours"), [("cancelled", -1), ("active", -3), ("active", 3)], ids=["cancelled", "over", "to come"]
)
async def test_a_link_opens_no_gate_when_its_pass_is_not_valid(
    resident: Visitor, people: Callable[[str], Any], server: Server, owner: Any, change: str, hours: int
) -> None:
    await let_open(people, "visitors")
    link = await make_pass(resident)
    await rows(
        owner,
        "a",
        """
        UPDATE visitor_pass SET status = $2, cancelled_at = CASE WHEN $2 = 'cancelled' THEN now() END,
            starts_at = now() + $3 * interval '1 hour', ends_at = now() + ($3 + 2) * interval '1 hour'
        WHERE community_id = $1 RETURNING id
        """,
        change,
        hours,
    )
    async with visiting(server.web) as visitor:
        assert "open-main-in" not in (await visitor.get(link)).text
        refused = await visitor.send(f"{link}/gates/main-in/open", of="/sign-in")
        assert (refused.status_code, "The pass is not valid now." in alerts(refused)) == (409, True)
    assert await rows(owner, "a", "SELECT FROM audit_entry WHERE community_id = $1 AND action = 'gate.open'") == []


async def test_nobody_opens_a_gate_by_a_link_that_leads_nowhere(
    people: Callable[[str], Any], resident: Visitor, server: Server
) -> None:
    await let_open(people, "visitors")
    link = await make_pass(resident)
    async with visiting(server.web) as visitor:
        refused = await visitor.send(f"{link[:-3]}xxx/gates/main-in/open", of="/sign-in")
        assert refused.status_code == 404


# What is refused, in Spanish


# A form carries text, and an empty one is refused before it is a table.
TABLES = [(kind, table) for kind, table, _ in MISTAKES if isinstance(table, str) and table]


@pytest.mark.parametrize(("kind", "table"), TABLES, ids=range(len(TABLES)))
async def test_mistakes_in_a_table_are_said_in_spanish(server: Server, kind: str, table: str) -> None:
    async with visiting(server.web, ADMIN) as english, visiting(server.web, ADMIN, **SPANISH) as spanish:
        send = {"of": f"{A}/transfer", "kind": kind, "table": table}
        found = [
            re.findall(r'<td role="cell" data-label="(?:What is wrong|Qué está mal)">([^<]+)</td>', page.text)
            for page in [await visitor.send(f"{A}/transfer", **send) for visitor in (english, spanish)]
        ]
    assert found[0]
    assert len(found[0]) == len(found[1])
    assert not set(found[0]) & set(found[1])


async def test_a_refused_form_is_explained_in_spanish(server: Server, admin: Visitor) -> None:
    async with visiting(server.web, RESIDENT, **SPANISH) as resident:
        await resident.send(f"{A}/vehicles", of=f"{A}/vehicles", plate="7777 ccc", label="")
        twice = await resident.send(f"{A}/vehicles", of=f"{A}/vehicles", plate="7777 ccc", label="")
        assert "Esta matrícula ya está registrada." in alerts(twice)
        past = await resident.get(f"{A}/book?from=2020-01-01T10:00&until=2020-01-01T12:00")
        assert "El horario empezaría en el pasado." in alerts(past)
        weak = await resident.send(
            "/account/password", of="/account", current_password="correct horse battery", new_password="password1"
        )
        assert "Esta contraseña es una de las primeras que prueba un atacante." in alerts(weak)
        cursor = await resident.get(f"{A}/history?cursor=x")
        assert (cursor.status_code, "no es de esta lista" in cursor.text) == (422, True)
        big = await resident.client.post("/language", content=b"x" * 70_000)
        assert big.status_code == 413
        assert "Los datos ocupan más de 65.536 bytes." in big.text
        method = await resident.client.put("/account")
        assert (method.status_code, "Esto no se puede hacer aquí." in method.text) == (405, True)


# Without a database


@pytest.fixture
async def without_database() -> AsyncIterator[str]:
    """Return the address of a server whose database is away."""
    web, edge = sockets.listen("127.0.0.1", 0), sockets.listen("127.0.0.1", 0)
    stop = asyncio.Event()
    task = asyncio.create_task(run.serve(settings("postgresql://parkmesh_app:x@127.0.0.1:1/none"), web, edge, stop))
    yield f"http://127.0.0.1:{web.getsockname()[1]}"
    stop.set()
    await task


@pytest.mark.parametrize(
    ("language", "text"),
    [("es", "El servicio no está disponible en este momento"), ("en", "The service is not available at the moment")],
)
async def test_without_a_database_browsers_get_a_page_that_says_when_to_come_back(
    without_database: str, language: str, text: str
) -> None:
    async with httpx.AsyncClient(base_url=without_database, cookies={"parkmesh-session": "x"}) as client:
        headers = {"Accept": "text/html,application/xhtml+xml,*/*;q=0.8", "Accept-Language": language}
        for path in ("/", A, "/account", "/v/1-aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"):
            page = await client.get(path, headers=headers)
            assert page.status_code == 503
            assert page.headers["content-type"].startswith("text/html")
            assert int(page.headers["retry-after"]) >= 1
            assert page.headers["cache-control"] == "no-store"
            assert "content-security-policy" in page.headers
            assert f'<html lang="{language}">' in page.text
            assert text in page.text


async def test_without_a_database_programs_get_problem_details(without_database: str) -> None:
    async with httpx.AsyncClient(base_url=without_database) as client:
        for path, accept in (("/api/v1/communities", "text/html"), (A, "application/json"), (A, "*/*")):
            answer = await client.get(
                path, headers={"Accept": accept, "Authorization": "Bearer abc", "Cookie": "parkmesh-session=x"}
            )
            assert (answer.status_code, answer.headers["content-type"]) == (503, "application/problem+json")
            assert answer.headers["retry-after"]
            assert json.loads(answer.text)["status"] == 503


# The spaces on the start page


async def test_the_start_page_shows_shared_spaces_and_keeps_the_state_of_neighbours_spaces(
    resident: Visitor, admin: Visitor, gateway: Gateway
) -> None:
    spaces = f"{A}/spaces"
    for name, category in (("s-01", "shared"), ("s-02", "shared"), ("v-01", "visitor")):
        assert (await admin.send(spaces, of=spaces, name=name, level="P1", category=category)).status_code == 303
    begin = (datetime.now(MADRID) - timedelta(days=1)).strftime("%Y-%m-%dT%H:%M")
    for name, since in (("a-01", begin), ("a-02", tomorrow(8))):
        given = await admin.send(f"{spaces}/{name}/assign", of=spaces, unit="1A", **{"from": since, "until": ""})
        assert given.status_code == 303, given.text
    states = {"a-01": "occupied", "a-02": "occupied", "a-03": "occupied", "s-01": "free", "v-01": "occupied"}
    events = [
        {"type": "space_state", "seq": seq, "times": {"received": 1}, "space": space, "status": status}
        for seq, (space, status) in enumerate(states.items(), 1)
    ]
    async with gateway("gateway-a") as client:
        assert (await client.post("/edge/v1/events", json={"epoch": 1, "events": events})).status_code == 200
    page = (await resident.get(A)).text
    shown = {space: state for state, space in re.findall(r'<g class="bay (\w+)"[^>]* data-space="([^"]+)"', page)}
    # Their own; one that is theirs from tomorrow and until then a neighbour's; a neighbour's.
    assert (shown["a-01"], shown["a-02"], shown["a-03"]) == ("occupied", "private", "private")
    assert (shown["s-01"], shown["s-02"], shown["v-01"]) == ("free", "unknown", "occupied")
    counted = {
        kind: re.findall(r"<strong>(\d+)</strong>", line)
        for kind, line in re.findall(r'data-testid="count-(\w+)">(.*?)</p>', page)
    }
    assert counted == {"shared": ["1", "0", "1"], "visitor": ["0", "1", "0"]}
    assert page.count("Occupied") == 2 + 3, "two counts; the drawing's a-01 and v-01, and a-01 in the list"
    booking = html.unescape(re.findall(r'<a href="([^"]+space=s-02)"', page)[0])
    answer = await resident.get(booking)
    assert re.findall(r'data-testid="free-space" data-space-name="([^"]+)"', answer.text) == ["s-02", "s-01"]
    assert "chosen-taken" not in answer.text
    assert "chosen-taken" in (await resident.get(booking.replace("s-02", "a-03"))).text
