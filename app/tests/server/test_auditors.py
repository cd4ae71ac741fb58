"""Auditors: members of a community who read what its administrators read, and change nothing."""

import re
from collections.abc import AsyncIterator, Callable
from typing import Any

import httpx
import pytest
from page_visitor import Visitor, alerts, visiting
from parkmesh.server.web.pages import ROUTES
from running_server import Server
from two_communities import PASSWORD, rows

People = Callable[[str], Any]
A = "/api/v1/communities/a"
ADMINISTRATOR = "administrator@a.example"
AUDITOR = "auditor@firm.example"
OWN_FORMS = ("/sign-out", "/language")


@pytest.fixture
async def auditor(server: Server, people: People) -> Any:
    """Return the API's client of a person who accepted an invitation as auditor of community a."""
    administrator = await people(ADMINISTRATOR)
    invited = await administrator.post(f"{A}/invitations", json={"email": AUDITOR, "role": "auditor"})
    assert (invited.status_code, invited.json()["role"]) == (201, "auditor"), invited.text
    async with httpx.AsyncClient(base_url=server.web) as guest:
        account = {"token": invited.json()["token"], "name": "Ramón", "password": PASSWORD}
        accepted = await guest.post("/api/v1/invitations/accept", json=account)
        assert accepted.status_code == 201, accepted.text
    return await people(AUDITOR)


@pytest.fixture
async def reading(server: Server, auditor: Any) -> AsyncIterator[Visitor]:
    async with visiting(server.web, AUDITOR) as visitor:
        yield visitor


async def test_an_auditor_is_a_member_and_no_person_of_the_community(auditor: Any, people: People, owner: Any) -> None:
    (member,) = [item for item in (await auditor.get(f"{A}/members")).json()["items"] if item["email"] == AUDITOR]
    assert (member["role"], member["resident_id"]) == ("auditor", None)
    assert (
        await rows(owner, "a", "SELECT FROM resident WHERE community_id = $1 AND email = 'auditor@firm.example'") == []
    )
    administrator = await people(ADMINISTRATOR)
    unit = (await administrator.get(f"{A}/units")).json()["items"][0]["id"]
    wish = {"email": "other@firm.example", "role": "auditor", "unit_id": unit}
    refused = await administrator.post(f"{A}/invitations", json=wish)
    assert refused.status_code == 422
    assert "unit_id" in refused.text


async def test_an_auditor_reads_what_administrators_read(auditor: Any, people: People) -> None:
    administrator = await people(ADMINISTRATOR)
    paths = (await auditor.get("/api/v1/openapi.json")).json()["paths"]
    lists = [
        path for path, methods in paths.items() if "get" in methods and re.findall("{.*?}", path) == ["{community}"]
    ]
    assert len(lists) > 15
    for path in lists:
        here = path.format(community="a")
        expected = (await administrator.get(here)).status_code
        assert (await auditor.get(here)).status_code == expected, path


async def test_an_auditor_changes_nothing(auditor: Any, owner: Any) -> None:
    prefix = "/api/v1/communities/{community}"
    paths = (await auditor.get("/api/v1/openapi.json")).json()["paths"]
    tried = set()
    for path, operations in paths.items():
        if not path.startswith(prefix):
            continue
        for method in operations.keys() - {"get"}:
            name = f"{method.upper()} {path.removeprefix(prefix)}"
            place = re.sub(r"{(?!community)\w+}", "1", path).format(community="a")
            answer = await auditor.request(method, place, json={}, headers={"If-Match": "*"})
            if name == "PATCH /notification-preferences":
                assert answer.status_code == 422
                continue
            assert answer.status_code == 403, f"{name}: {answer.status_code} {answer.text}"
            assert answer.json()["type"] == "urn:parkmesh:problem:reads-only", name
            tried.add(name)
    assert tried >= {"PATCH /rules", "POST /gates/{gate}/open", "POST /residents/{resident}/erase", "POST /api-keys"}


async def test_no_page_of_the_community_takes_a_form_of_an_auditor(reading: Visitor) -> None:
    tried = 0
    for route in ROUTES:
        if "POST" not in (route.methods or ()) or not route.path.startswith("/communities/{community}"):
            continue
        place = re.sub(r"{\w+}", "1", route.path.replace("{community}", "a"))
        answer = await reading.send(place, of="/account")
        assert answer.status_code == 403, f"{route.path}: {answer.status_code}"
        tried += 1
    assert tried > 40


async def test_pages_show_an_auditor_no_form_that_changes(reading: Visitor, admin: Visitor) -> None:
    """Every page to which pages link, from the first one on."""
    waiting, seen, kept = ["/communities/a"], {"/communities/a"}, set[str]()
    while waiting:
        path = waiting.pop()
        page = await reading.get(path)
        if "text/html" not in page.headers["content-type"]:
            continue
        assert page.status_code == 200, f"{path}: {page.status_code}"
        assert 'data-testid="reads-only"' in page.text, path
        forms = re.findall(r'<form\b(?=[^>]*method="post")[^>]*action="([^"]*)"', page.text)
        assert set(forms) <= set(OWN_FORMS), f"{path}: {forms}"
        assert page.text.count("<section") == page.text.count("</section"), path
        assert page.text.count("<div") == page.text.count("</div"), path
        kept |= set(forms)
        for link in re.findall(r'<a\b[^>]*href="(/communities/a[^"?#]*)', page.text):
            if link not in seen:
                seen.add(link)
                waiting.append(link)
    assert "/sign-out" in kept
    assert seen >= {f"/communities/a/{name}" for name in ("people", "gates", "audit", "api-keys", "webhooks", "spaces")}
    # What a form shows is read, not changed; what only makes something is gone.
    rules = (await reading.get("/communities/a/gates")).text
    assert re.search(r'<fieldset class="form read" disabled>.*name="booking_max_hours"', rules, re.S)
    assert 'id="invite-title"' not in (await reading.get("/communities/a/people")).text
    assert 'id="invite-title"' in (await admin.get("/communities/a/people")).text


async def test_an_auditor_keeps_their_own_account(reading: Visitor) -> None:
    assert (await reading.get("/account")).status_code == 200
    saved = await reading.send("/account/e-mails", of="/account/e-mails")
    assert saved.status_code == 303
    assert (await reading.send("/sign-out", of="/account")).status_code == 303


async def test_staff_make_an_auditor_of_a_member(server: Server, people: People, admin: Visitor) -> None:
    administrator = await people(ADMINISTRATOR)
    items = (await administrator.get(f"{A}/members")).json()["items"]
    (user,) = [item["id"] for item in items if item["email"] == "resident@a.example"]
    place = "/communities/a/people/accounts"
    assert "Make an auditor" in (await admin.get(place)).text
    assert (await admin.send(f"{place}/{user}", of=place, act="auditor")).status_code == 303
    changed = await (await people("resident@a.example")).get(f"{A}/audit")
    assert changed.status_code == 200


async def test_the_form_refuses_an_auditor_with_a_unit(admin: Visitor) -> None:
    place = "/communities/a/people"
    refused = await admin.send(f"{place}/invite", of=place, email="other@firm.example", role="auditor", unit="1A")
    assert refused.status_code == 422
    assert "An auditor belongs to no unit." in alerts(refused)
    assert "other@firm.example" in refused.text


async def test_an_auditor_verifies_the_trail(auditor: Any, reading: Visitor, people: People, owner: Any) -> None:
    found = (await auditor.get(f"{A}/audit/verification")).json()
    (latest,) = (await auditor.get(f"{A}/audit", params={"limit": 1})).json()["items"]
    assert found == {
        "holds": True, "entries": latest["seq"], "hash": latest["hash"], "at": None, "entry": None, "problem": None
    }  # fmt: skip
    head = {"entries": found["entries"], "hash": found["hash"]}
    assert (await auditor.get(f"{A}/audit/verification", params=head)).json()["holds"]
    other = (await auditor.get(f"{A}/audit/verification", params=head | {"hash": "0" * 64})).json()
    assert (other["holds"], other["at"]) == (False, head["entries"])
    half = await auditor.get(f"{A}/audit/verification", params={"entries": 1})
    assert half.status_code == 422
    page = await reading.get("/communities/a/audit/verification")
    assert 'data-testid="holds"' in page.text
    assert found["hash"] in page.text
    assert (await (await people("resident@a.example")).get(f"{A}/audit/verification")).status_code == 403
    await owner.execute("ALTER TABLE audit_entry DISABLE TRIGGER USER")
    await rows(owner, "a", "UPDATE audit_entry SET actor = 'user:0' WHERE community_id = $1 AND id = $2", latest["id"])
    broken = (await auditor.get(f"{A}/audit/verification")).json()
    assert (broken["holds"], broken["entry"], broken["problem"]) == (False, latest["id"], "the entry was changed")
    assert 'data-testid="broken"' in (await reading.get("/communities/a/audit/verification")).text
