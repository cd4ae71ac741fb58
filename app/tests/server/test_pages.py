"""Pages: who may open which, languages, forms that are shown again, and forms that are sent twice."""

import html
import re
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from page_visitor import IDEMPOTENCY_KEY, TOKEN, Visitor, alerts, visiting
from parkmesh.server.web import labels, language, pages
from running_server import Server
from starlette.routing import Route
from two_communities import rows

DESK, ADMIN, RESIDENT = "desk@parkmesh.example", "administrator@a.example", "resident@a.example"
STRANGER = "administrator@b.example"
MADRID = ZoneInfo("Europe/Madrid")


def tomorrow(hour: int) -> str:
    """Return an hour of tomorrow as a form takes it."""
    day = datetime.now(MADRID).date() + timedelta(days=1)
    return f"{day.isoformat()}T{hour:02}:00"


PAGES = [route for route in pages.ROUTES if isinstance(route, Route)]
IN_COMMUNITY = [route for route in PAGES if "{community}" in route.path]


EMPTY = {
    DESK: ["/onboard"],
    ADMIN: [
        f"/communities/a/{path}"
        for path in (
            "api-keys", "gates/save", "gates/main-in/lanes", "rules", "presence", "map/levels", "people/invite",
            "people/1", "people/1/plates", "people/1/data", "people/units", "people/units/1", "spaces",
            "gates/main-in/open", "transfer",
        )
    ],
    RESIDENT: ["/account/password"] + [
        f"/communities/a/{path}" for path in ("vehicles", "visitors", "share/a-01/once", "share/a-01/weekly")
    ],
}  # fmt: skip
"""Addresses of forms that can't be sent empty."""


def address(route: Route) -> str:
    """Return an address that the route answers: community a, and 1 for every other part."""
    return re.sub(r"\{[a-z]+\}", "1", route.path.replace("{community}", "a").replace("{gate}", "main-in"))


def test_there_are_pages_to_look_at() -> None:
    assert len(IN_COMMUNITY) > 30


async def test_no_page_of_a_community_opens_for_others(server: Server, subtests: pytest.Subtests) -> None:
    async with visiting(server.web, STRANGER) as stranger, visiting(server.web) as nobody:
        token = await stranger.token("/account")
        for route in IN_COMMUNITY:
            method = "GET" if "GET" in (route.methods or {"GET"}) else "POST"
            with subtests.test(f"{method} {route.path}"):
                data = {"csrf_token": token} if method == "POST" else None
                answer = await stranger.client.request(method, address(route), data=data)
                assert answer.status_code == 404
                answer = await nobody.client.request(method, address(route), data=data)
                assert answer.status_code in (303, 401)
                assert answer.headers.get("location", "/sign-in").startswith("/sign-in")


async def test_residents_see_no_page_of_the_staff(resident: Visitor, subtests: pytest.Subtests) -> None:
    token = await resident.token("/account")
    staff = [
        "map", "passages", "people", "people/accounts", "people/1", "spaces", "spaces/a-01", "gates", "transfer",
        "audit",
    ]  # fmt: skip
    for path in staff:
        with subtests.test(path):
            assert (await resident.get(f"/communities/a/{path}")).status_code == 403
    acts = ["rules", "presence", "transfer", "spaces", "people/invite", "people/units", "gates/save"]
    for path in acts:
        with subtests.test(f"POST {path}"):
            answer = await resident.client.post(f"/communities/a/{path}", data={"csrf_token": token})
            assert answer.status_code == 403
    for path in ("/gateways", "/onboard", "/audit"):
        assert (await resident.get(path)).status_code == 404


async def test_no_form_is_taken_without_its_token(admin: Visitor, subtests: pytest.Subtests) -> None:
    for route in PAGES:
        # A mail program ends e-mails with the token of its address (RFC 8058).
        if "POST" not in (route.methods or ()) or route.path in ("/sign-in", "/unsubscribe/{token}"):
            continue
        with subtests.test(route.path):
            for data in ({}, {"csrf_token": "forged"}):
                answer = await admin.client.post(address(route), data=data or {"x": "y"})
                assert answer.status_code == 403


async def test_the_language_is_the_chosen_one_else_the_browser_s(server: Server) -> None:
    async with visiting(server.web, **{"Accept-Language": "ca, es-ES;q=0.8, en;q=0.5"}) as visitor:
        page = await visitor.get("/sign-in")
        assert '<html lang="es">' in page.text
        assert "Contraseña" in page.text
        answer = await visitor.client.post(
            "/language",
            data={"csrf_token": await visitor.token("/sign-in"), "language": "en"},
            headers={"Referer": f"{server.web}/sign-in"},
        )
        assert (answer.status_code, answer.headers["location"]) == (303, "/sign-in")
        assert '<html lang="en">' in (await visitor.get("/sign-in")).text
        assert '<html lang="en">' in (await visitor.get("/communities/nowhere", follow_redirects=True)).text


async def test_choosing_a_language_leads_to_no_other_site(server: Server) -> None:
    async with visiting(server.web) as visitor:
        for referer in ("https://evil.example/", f"{server.web}//evil.example", "https://evil.example//127.0.0.1/x"):
            answer = await visitor.client.post(
                "/language",
                data={"csrf_token": await visitor.token("/sign-in"), "language": "es"},
                headers={"Referer": referer},
            )
            assert answer.headers["location"] == "/"


@pytest.mark.parametrize(
    ("header", "code"),
    [
        ("", "en"), ("es", "es"), ("ES-mx", "es"), ("de, fr;q=0.9", "en"), ("de, es;q=0.1", "es"),
        ("en;q=0.1, es", "es"),
        ("es;q=x, en", "en"), ("es;q=0", "en"), (",;;,", "en"), ("es;q=nan", "en"), ("x" * 5000, "en"),
    ],
)  # fmt: skip
def test_the_preferred_language_of_a_header(header: str, code: str) -> None:
    assert language.preferred(header) == code


async def test_what_was_entered_is_shown_again_with_the_error(resident: Visitor) -> None:
    page = await resident.send("/communities/a/vehicles", of="/communities/a/vehicles", plate="?!", label="my <van>")
    assert page.status_code == 422
    assert "This is not a licence plate" in alerts(page)
    assert re.search(r'<a href="#plate">Plate: This is not a licence plate', page.text)
    assert 'aria-invalid="true"' in page.text
    assert 'value="my &lt;van&gt;"' in page.text
    assert "<title>Error: " in page.text


async def test_a_password_is_never_shown_again(resident: Visitor, server: Server) -> None:
    page = await resident.send(
        "/account/password", of="/account", current_password="my-wrong-password", new_password="another-long-password"
    )
    assert page.status_code == 422
    assert "This is not your password" in alerts(page)
    assert "my-wrong-password" not in page.text
    assert "another-long-password" not in page.text
    async with visiting(server.web) as visitor:
        page = await visitor.sign_in(RESIDENT, "my-wrong-password")
        assert page.status_code == 401
        assert RESIDENT in page.text
        assert "my-wrong-password" not in page.text


async def test_a_vehicle_is_added_once_and_removed(resident: Visitor, owner: Any) -> None:
    for status in (303, 422):
        answer = await resident.send(
            "/communities/a/vehicles", of="/communities/a/vehicles", plate="9999 zzz", label=""
        )
        assert answer.status_code == status
    page = await resident.get("/communities/a/vehicles")
    assert 'data-plate="9999ZZZ"' in page.text
    found = await rows(owner, "a", "SELECT id FROM credential WHERE community_id = $1 AND plate = '9999ZZZ'")
    vehicle = found[0]["id"]
    others = await rows(owner, "a", "SELECT id FROM credential WHERE community_id = $1 AND plate = '5678AXX'")
    refused = await resident.send(f"/communities/a/vehicles/{others[0]['id']}/remove", of="/communities/a/vehicles")
    assert refused.status_code == 404
    answer = await resident.send(f"/communities/a/vehicles/{vehicle}/remove", of="/communities/a/vehicles")
    assert answer.headers["location"] == "/communities/a/vehicles?done=vehicle-removed"
    assert 'data-plate="9999ZZZ"' not in (await resident.get("/communities/a/vehicles")).text


async def test_without_scripts_a_page_asks_before_a_plate_is_removed(resident: Visitor, owner: Any) -> None:
    vehicles = "/communities/a/vehicles"
    await resident.send(vehicles, of=vehicles, plate="4321 DCB", label="")
    form = re.search(
        rf'action="({vehicles}/\d+/remove)"[^>]*>\s*<[^>]*>\s*<input type="hidden" name="what" value="(4321 DCB)"',
        (await resident.get(vehicles)).text,
    )
    assert form
    kept = "SELECT status FROM credential WHERE community_id = $1 AND plate = '4321DCB'"
    came = {"referer": "https://elsewhere.example//elsewhere.example/x"}
    token = await resident.token(vehicles)
    page = await resident.client.post(form[1], data={"csrf_token": token, "what": form[2]}, headers=came)
    assert page.status_code == 200
    assert "Remove this plate? Gates will not open for it any more." in page.text
    assert "4321 DCB" in page.text
    assert 'href="/elsewhere.example/x"' in page.text
    (still,) = await rows(owner, "a", kept)
    assert still["status"] == "active"
    sent = dict(
        re.findall(
            r'<input type="hidden" name="(\w+)" value="([^"]*)"', page.text.partition('data-testid="confirm"')[2]
        )
    )
    assert (await resident.client.post(form[1], data=sent)).headers["location"] == f"{vehicles}?done=vehicle-removed"
    assert [row["status"] for row in await rows(owner, "a", kept)] != ["active"]


def test_whatever_the_script_asks_a_page_asks_without_it() -> None:
    pages_of = Path(pages.__file__).parent
    asked = {key for file in pages_of.glob("*.py") for key in re.findall(r'asked\("([\w-]+)"', file.read_text())}
    templates = "".join(file.read_text() for file in (pages_of.parent / "templates").glob("*.html"))
    in_templates = re.findall(r"data-confirm=\"{{ parts\.question\('([\w-]+)'", templates)
    # Where staff give a reason, the form itself asks.
    assert len(in_templates) == templates.count("data-confirm") - templates.count('data-confirm="{{ question }}"')
    assert set(in_templates) == asked == set(labels.QUESTIONS)


async def test_a_booking_that_is_sent_twice_is_made_once(resident: Visitor, admin: Visitor, owner: Any) -> None:
    await admin.send("/communities/a/spaces", of="/communities/a/spaces", name="s-01", level="P1", category="shared")
    address = f"/communities/a/book?from={tomorrow(9)}&until={tomorrow(11)}"
    page = await resident.get(address)
    assert 'data-space-name="s-01"' in page.text
    token, key = TOKEN.search(page.text), IDEMPOTENCY_KEY.search(page.text)
    assert token
    assert key
    form = {
        "csrf_token": html.unescape(token[1]), "idempotency_key": html.unescape(key[1]),
        "space": "s-01", "from": tomorrow(9), "until": tomorrow(11),
    }  # fmt: skip
    for _ in range(2):
        answer = await resident.client.post("/communities/a/book", data=form)
        assert (answer.status_code, answer.headers["location"]) == (303, "/communities/a/book?done=booked")
    made = await rows(owner, "a", "SELECT id FROM booking WHERE community_id = $1")
    assert len(made) == 1
    again = await resident.client.post("/communities/a/book", data={**form, "idempotency_key": "another"})
    assert again.status_code == 422
    assert re.search(r"Somebody booked the space in that time. Taken: .*09:00-11:00", alerts(again))


async def test_a_visitor_opens_his_link_without_an_account(resident: Visitor, server: Server) -> None:
    begin = datetime.now(MADRID) - timedelta(minutes=5)
    page = await resident.send(
        "/communities/a/visitors",
        of="/communities/a/visitors",
        name="Tío Paco",
        **{"from": begin.strftime("%Y-%m-%dT%H:%M"), "until": tomorrow(9)},
    )
    found = re.search(r'href="(http[^"]+/v/[^"]+)"', page.text)
    assert found, alerts(page)
    link = found[1].removeprefix(server.web)
    assert link not in (await resident.get("/communities/a/visitors")).text
    async with visiting(server.web) as visitor:
        opened = await visitor.get(link)
        assert opened.status_code == 200
        assert "Community A" in opened.text
        # Not in the random tokens, where two letters meet by chance.
        words = re.sub(r"[\w-]{20,}", "", opened.text)
        for hidden in ("Ana", "1A", "Paco", RESIDENT):
            assert hidden not in words
        wrong = await visitor.send(link, of=link, plate="%%%")
        assert wrong.status_code == 422
        answer = await visitor.send(link, of=link, plate="4321 xyz")
        assert answer.status_code == 303, alerts(answer)
        assert "4321 XYZ" in (await visitor.get(link)).text
        assert (await visitor.get(link[:-3] + "xxx")).status_code == 404
        assert (await visitor.get("/v/nothing")).status_code == 404


async def test_an_invitation_makes_an_account(admin: Visitor, server: Server) -> None:
    page = await admin.send(
        "/communities/a/people/invite", of="/communities/a/people", email="new@a.example", role="resident", unit=""
    )
    found = re.search(r"/join/[A-Za-z0-9_-]+", page.text)
    assert found, alerts(page)
    async with visiting(server.web) as visitor:
        offer = await visitor.get(found[0])
        assert "Community A" in offer.text
        weak = await visitor.send(found[0], of="/sign-in", act="new", name="New One", password="12345678")
        assert weak.status_code == 422
        assert "12345678" not in weak.text
        answer = await visitor.send(found[0], of="/sign-in", act="new", name="New One", password="blue otter drum kite")
        assert answer.status_code == 303, answer.text
        home = await visitor.get("/communities/a")
        assert "New One" in home.text
        assert (await visitor.get(found[0])).status_code == 404


async def test_rules_that_somebody_else_changed_are_not_overwritten(admin: Visitor) -> None:
    page = await admin.get("/communities/a/gates")
    inputs = dict(re.findall(r'<input id="(\w+)" name="\w+" type="number" value="(\d*)"', page.text))
    rules = {
        key: value for key, value in inputs.items() if key.endswith(("_s", "unit", "hours", "ahead", "minutes", "days"))
    }
    chosen = {"anti_passback": "soft", "plate_matching": "exact"}
    form = {**rules, **chosen, "seen": await admin.seen("/communities/a/gates")}
    first = await admin.send("/communities/a/rules", of="/communities/a/gates", **form)
    assert first.status_code == 303, alerts(first)
    second = await admin.send("/communities/a/rules", of="/communities/a/gates", **form)
    assert second.status_code == 422
    assert "Somebody changed this in the meantime" in alerts(second)


async def test_the_summary_names_each_field_in_the_reader_s_language(admin: Visitor) -> None:
    page = await admin.get("/communities/a/gates")
    rules = re.findall(r'<label for="(\w+)">([^<]+)</label>\s*<input id="\w+" name="\w+" type="number"', page.text)
    assert len(rules) == 12
    await admin.send("/language", of="/communities/a/gates", language="es")
    refused = await admin.send(
        "/communities/a/rules", of="/communities/a/gates", anti_passback="off", plate_matching="careful", seen="x"
    )
    page = await admin.get("/communities/a/gates")
    summary = refused.text[refused.text.index("data-summary") :].partition("</ul>")[0]
    links = dict(re.findall(r'<a href="#(\w+)">([^<:]+): Escriba un número', summary))
    for name, _english in rules:
        label = re.search(rf'<label for="{name}">([^<]+)</label>', page.text)
        assert label
        assert links[name] == label[1]


async def test_every_error_of_a_form_sent_empty_is_at_a_field_of_the_page(
    server: Server, subtests: pytest.Subtests
) -> None:
    seen = 0
    async with visiting(server.web, ADMIN) as admin:
        spaces = "/communities/a/spaces"
        given = await admin.send(
            f"{spaces}/a-01/assign", of=spaces, unit="1A", **{"from": "2026-01-01T10:00", "until": ""}
        )
        assert given.status_code == 303, alerts(given)
    for who in (DESK, ADMIN, RESIDENT):
        async with visiting(server.web, who) as visitor:
            for path in EMPTY[who]:
                with subtests.test(f"{path} as {who}"):
                    page = await visitor.send(path, of="/account")
                    assert page.status_code == 422, page.status_code
                    summary = page.text[page.text.index("data-summary") :].partition("</ul>")[0]
                    items = re.findall(r"<li>(.*?)</li>", summary)
                    assert items
                    for item in items:
                        link = re.fullmatch(r'<a href="#([^"]+)">[^<]+: [^<]+</a>', item)
                        assert link, item
                        assert page.text.count(f' id="{link[1]}"') == 1, item
                        seen += 1
    assert seen > 30


async def test_a_table_is_tried_before_it_is_taken_over(admin: Visitor, owner: Any) -> None:
    count = "SELECT count(*) AS n FROM unit WHERE community_id = $1"
    before = (await rows(owner, "a", count))[0]["n"]
    send = {"of": "/communities/a/transfer", "kind": "units"}
    wrong = await admin.send("/communities/a/transfer", table="name;lots\n9Z;many\n", **send)
    assert "1 mistake: nothing was changed" in wrong.text
    tried = await admin.send("/communities/a/transfer", table="name;lots\n9Z;2\n8Y;\n", **send)
    assert "Import 2 rows" in tried.text
    assert (await rows(owner, "a", count))[0]["n"] == before
    done = await admin.send("/communities/a/transfer", table="name;lots\n9Z;2\n8Y;\n", act="apply", **send)
    assert done.headers["location"] == "/communities/a/transfer?done=imported"
    assert (await rows(owner, "a", count))[0]["n"] == before + 2


async def test_staff_opens_a_gate_with_a_reason_only(admin: Visitor, connected: None) -> None:
    refused = await admin.send("/communities/a/gates/main-in/open", of="/communities/a", reason="")
    assert refused.status_code == 422
    answer = await admin.send("/communities/a/gates/main-in/open", of="/communities/a", reason="ambulance")
    assert answer.headers["location"].startswith("/communities/a?opening=")
    assert 'data-action="gate.open"' in (await admin.get("/communities/a/audit")).text


async def test_residents_open_gates_where_the_rules_let_them(resident: Visitor, admin: Visitor, owner: Any) -> None:
    assert "my-gates" not in (await resident.get("/communities/a")).text
    refused = await resident.send("/communities/a/my-gates/main-in/open", of="/account")
    assert refused.status_code == 403


async def test_the_desk_onboards_a_community(server: Server) -> None:
    async with visiting(server.web, DESK) as desk:
        form = {
            "name": "c", "title": "Community C", "time_zone": "Europe/Madrid", "language": "es", "gateway": "gateway-c",
            "gates": "in, entry, Way in\nout, exit, Way out", "spaces": "P1, c-01, c-12",
        }  # fmt: skip
        wrong = await desk.send("/onboard", of="/onboard", **{**form, "spaces": "P1, c-01, d-12"})
        assert wrong.status_code == 422
        page = await desk.send("/onboard", of="/onboard", **form)
        assert 'data-testid="tokens"' in page.text, alerts(page)
        live = await desk.get("/communities/c")
        assert live.text.count('data-testid="space-tile"') == 12
        assert "Community C" in (await desk.get("/?q=community+c")).text
        assert "Community A" not in (await desk.get("/?q=community+c")).text


async def test_bad_addresses_are_answered_without_an_error_of_ours(admin: Visitor, subtests: pytest.Subtests) -> None:
    paths = [
        "passages?plate=%00", "passages?from=x&until=99999-01-01", "passages?cursor=x", "passages?gate=%00",
        "people?cursor=AAAA", "people/%00", "people/99999999999999999999", "people/0", "spaces/%00", "spaces?level=%00",
        "audit?kind=%27", "audit?cursor=%F0", "spaces/a-01?done=%00",
    ]  # fmt: skip
    for path in paths:
        with subtests.test(path):
            assert (await admin.get(f"/communities/a/{path}")).status_code in (200, 404, 422)
