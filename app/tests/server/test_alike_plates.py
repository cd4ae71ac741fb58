"""Plates that gates may confuse are taken, and people are told without learning of their neighbours' plates."""

import json
import random
import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from page_visitor import Visitor
from parkmesh.domain import plates
from parkmesh.server.access import alike
from parkmesh.server.db import database
from running_server import Database
from two_communities import rows

People = Callable[[str], Any]
API = "/api/v1/communities/a"
A = "/communities/a"
# Luis, of another unit than the resident who asks, has 5678AXX.
THEIRS, LIKE_THEIRS, LIKE_NONE = "5678AXX", "S678 AXX", "3477 KLM"
READS_ALIKE = "Another plate of the community reads alike."


async def kinds(answer: Any) -> list[tuple[str, list[str]]]:
    assert answer.status_code in (200, 201), answer.text
    return [(item["kind"], item["plates"]) for item in answer.json()["warnings"]]


def window(hours: int = 2) -> dict[str, str]:
    begin = datetime.now(UTC) + timedelta(hours=1)
    return {"from": begin.isoformat(), "until": (begin + timedelta(hours=hours)).isoformat()}


async def test_staff_are_told_which_plates_gates_may_confuse(people: People) -> None:
    admin = await people("administrator@a.example")
    members = {item["name"]: item["id"] for item in (await admin.get(f"{API}/residents")).json()["items"]}
    made = await admin.post(f"{API}/vehicles", json={"plate": LIKE_THEIRS})
    assert await kinds(made) == [("reads-alike", [THEIRS])]
    assert await kinds(await admin.post(f"{API}/vehicles", json={"plate": LIKE_NONE})) == []
    # The state that a change names is the vehicle's, without what was said of it.
    read = await admin.get(f"{API}/vehicles/{made.json()['id']}")
    assert (read.headers["etag"], "warnings" in read.json()) == (made.headers["etag"], False)
    here, changed = f"{API}/vehicles/{made.json()['id']}", {"If-Match": made.headers["etag"]}
    other = await admin.patch(here, json={"label": "the red one"}, headers=changed)
    assert await kinds(other) == []
    again = await admin.patch(here, json={"plate": "567B AXX"}, headers={"If-Match": other.headers["etag"]})
    assert await kinds(again) == [("reads-alike", [THEIRS])]
    # Berlin's B NO 1234 and Bonn's BN O 1234.
    berlin = await admin.post(f"{API}/vehicles", json={"plate": "B NO 1234", "resident_id": members["Ana"]})
    assert await kinds(berlin) == []
    bonn = await admin.post(f"{API}/vehicles", json={"plate": "BN O 1234", "resident_id": members["Luis"]})
    assert await kinds(bonn) == [("same-letters", [])]
    # A bar is meant for all who have the letters; another plate may be refused with it.
    barred = await admin.post(f"{API}/bars", json={"plate": "BN 0 1234", "reason": "stolen"})
    assert await kinds(barred) == [("reads-alike", ["BNO1234"])]
    # A bar counts as a plate of the list.
    issued = await admin.post(f"{API}/visitor-passes", json={"plate": "BNQ 1234", "unit_id": 1, **window()})
    assert await kinds(issued) == [("reads-alike", ["BN01234", "BNO1234"])]


async def test_residents_learn_neither_which_plate_nor_whose(people: People) -> None:
    resident = await people("resident@a.example")
    made = await resident.post(
        f"{API}/vehicles", json={"plate": LIKE_THEIRS}, headers={"Idempotency-Key": "one-key-of-mine"}
    )
    assert await kinds(made) == [("reads-alike", [])]
    issued = await resident.post(f"{API}/visitor-passes", json={"plate": "567B AXX", **window()})
    assert await kinds(issued) == [("reads-alike", [])]
    answers = [made, issued]
    here = f"{API}/visitor-passes/{issued.json()['id']}"
    for plate, expected in ((LIKE_NONE, []), ("5G78 AXX", [("reads-alike", [])]), (THEIRS, [("reads-alike", [])])):
        seen = (await resident.get(here)).headers["etag"]
        answers.append(await resident.put(here, json={"plate": plate, "name": "Eva"}, headers={"If-Match": seen}))
        assert await kinds(answers[-1]) == expected
    for answer in answers[:-1]:
        assert THEIRS not in answer.text
        assert "Luis" not in answer.text
    # What was said of other plates isn't stored for a repeated request.
    again = await resident.post(
        f"{API}/vehicles", json={"plate": LIKE_THEIRS}, headers={"Idempotency-Key": "one-key-of-mine"}
    )
    assert (again.status_code, again.json()["warnings"]) == (201, None)


async def test_a_plate_of_another_community_or_of_the_past_is_no_plate_to_confuse(people: People, owner: Any) -> None:
    await rows(
        owner,
        "a",
        """
        INSERT INTO credential (community_id, plate, valid_until)
        VALUES ($1, 'S678BXX', now() - interval '1 hour') RETURNING id
        """,
    )
    admin = await people("administrator@a.example")
    # 5678BXX is Luis's in community b.
    assert await kinds(await admin.post(f"{API}/vehicles", json={"plate": "567B BXX"})) == []


def said(page: Any) -> list[str]:
    return re.findall(r'data-testid="also">([^<]+)<', page.text)


async def test_pages_say_that_a_gate_may_confuse_the_plate(admin: Visitor, resident: Visitor, owner: Any) -> None:
    vehicles, visitors = f"{A}/vehicles", f"{A}/visitors"
    answer = await resident.send(vehicles, of=vehicles, plate=LIKE_THEIRS, label="")
    assert answer.headers["location"] == f"{vehicles}?done=vehicle-added&also=reads-alike"
    page = await resident.get(answer.headers["location"])
    assert said(page) == ["Another plate of the community reads alike. A gate may confuse the two."]
    assert THEIRS not in page.text
    assert said(await resident.get(vehicles)) == []
    answer = await resident.send(vehicles, of=vehicles, plate=LIKE_NONE, label="")
    assert answer.headers["location"] == f"{vehicles}?done=vehicle-added"
    moments = {
        name: (datetime.now(UTC) + timedelta(days=1, hours=hours)).strftime("%Y-%m-%dT%H:%M")
        for name, hours in (("from", 0), ("until", 2))
    }
    created = await resident.client.post(
        visitors,
        data={
            "csrf_token": await resident.token(visitors),
            "idempotency_key": "0123456789abcdef0123456789abcdef",
            "name": "Eva",
            "plate": "567B AXX",
            **moments,
        },
    )
    assert 'data-testid="pass-link"' in created.text
    assert len(said(created)) == 1
    assert THEIRS not in created.text
    # Staff see which, on the page of the plate.
    (luis,) = await rows(owner, "a", "SELECT id FROM resident WHERE community_id = $1 AND name = 'Luis'")
    person = f"{A}/people/{luis['id']}"
    answer = await admin.send(f"{person}/plates", of=person, plate="3477 KLM", label="")
    assert answer.headers["location"] == f"{person}?done=vehicle-added&also=same-letters"
    answer = await admin.send(f"{person}/plates", of=person, plate="S6 78 AXX", label="")
    assert "also=reads-alike-which%2Csame-letters" in answer.headers["location"]
    assert len(said(await admin.get(answer.headers["location"]))) == 2
    assert f'href="{A}/plates/S678AXX"' in (await admin.get(f"{A}/plates/{THEIRS}")).text
    answer = await admin.send(f"{A}/bars", of=f"{A}/bars", plate="34 77 K1M", reason="stolen")
    assert answer.headers["location"] == f"{A}/bars?done=barred"
    answer = await admin.send(f"{A}/bars", of=f"{A}/bars", plate="5G78AXX", reason="stolen")
    assert answer.headers["location"] == f"{A}/bars?done=barred&also=reads-alike-which"


async def test_an_import_names_the_lines_whose_plates_read_alike(people: People, admin: Visitor, owner: Any) -> None:
    client = await people("administrator@a.example")
    table = (
        "plate,email\n1111BBB,luis@a.example\n5678 AXX,luis@a.example\nIIII BBB,luis@a.example\nS678AXX,\nII11BBB,\n"
    )
    for dry_run in (True, False):
        answer = await client.post(
            f"{API}/imports/plates",
            params={"dry_run": json.dumps(dry_run)},
            content=table.encode(),
            headers={"Content-Type": "text/csv"},
        )
        report = answer.json()
        # Four letters of IIIIBBB differ from 1111BBB: more than a misread may.
        assert report["warnings"] == [
            {"line": 2, "plate": "1111BBB", "plates": ["II11BBB"]},
            {"line": 4, "plate": "IIIIBBB", "plates": ["II11BBB"]},
            {"line": 5, "plate": "S678AXX", "plates": ["5678AXX"]},
            {"line": 6, "plate": "II11BBB", "plates": ["1111BBB", "IIIIBBB"]},
        ]
        assert (report["warning_count"], report["applied"], report["created"]) == (4, not dry_run, 4)
    await rows(owner, "a", "DELETE FROM credential WHERE community_id = $1 AND plate ~ 'BBB|^S' RETURNING id")
    form = {"kind": "plates", "table": table}
    tried = await admin.send(f"{A}/transfer", of=f"{A}/transfer", **form)
    assert "4 new plates read like others." in tried.text
    applied = await admin.send(f"{A}/transfer", of=f"{A}/transfer", act="apply", encoding="utf-8", **form)
    assert applied.headers["location"] == f"{A}/transfer?done=imported&also=import-alike"


@pytest.mark.parametrize("seed", range(3))
async def test_the_database_finds_what_a_decision_would(filled: Database, owner: Any, seed: int) -> None:
    drawn = random.Random(seed)
    plate, *others = ("".join(drawn.choices("0ODQ1I2Z8BAX", k=drawn.randint(4, 6))) for _ in range(150))
    listed = set(others)
    (community,) = await rows(owner, "a", "SELECT id FROM community WHERE id = $1")
    await rows(
        owner,
        "a",
        "INSERT INTO credential (community_id, plate) SELECT $1, unnest($2::text[]) RETURNING id",
        sorted(listed | {plate}),
    )
    async with (
        database.create_pool(filled.app, "test", 1) as pool,
        database.in_community(pool, community["id"], read_only=True) as connection,
    ):
        every = await alike.each(connection, community["id"], listed)
        for wanted in listed:
            expected = tuple(sorted(o for o in listed | {plate} if o != wanted and plates.fits(wanted, o)))
            assert every.get(wanted, ()) == expected
        for wanted in [plate, *sorted(listed)[:20]]:
            expected = tuple(sorted(o for o in listed | {plate} if o != wanted and plates.fits(wanted, o)))
            assert await alike.reading_as(connection, community["id"], wanted) == expected
