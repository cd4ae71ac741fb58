"""Violations: noticed by a rule, opened by staff or reported, followed to their end; who sees what of them."""

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg
import pytest
from parkmesh.server.access import overstays, violations
from parkmesh.server.commands import retention
from parkmesh.server.db import database
from running_server import Database
from two_communities import held_for_long, rows

People = Callable[[str], Any]
A = "/api/v1/communities/a"
VIOLATIONS = f"{A}/violations"
# The server that answers looks at the present by itself: it must find nothing to do.
ENDS = datetime.fromisoformat("2090-11-20T18:00+00:00")
GRACE = timedelta(minutes=30)
SEEN = {"kind": "fire_lane", "plate": "5678-AXX", "evidence": "In front of the doors."}


async def visit(owner: Any, plate: str = "7777VIS", ends: datetime = ENDS) -> int:
    """A visitor of 1A is inside since an hour before their pass ends; return the stay."""
    (made,) = await rows(
        owner,
        "a",
        """
        INSERT INTO visitor_pass (community_id, unit_id, plate, starts_at, ends_at, month, token_sha256)
        SELECT $1, u.id, $3::text, $2::timestamptz - interval '4 hours', $2, '2090-11-01', sha256($3::text::bytea)
        FROM unit u WHERE u.community_id = $1 AND u.name = '1A' RETURNING id
        """,
        ends,
        plate,
    )
    (stay,) = await rows(
        owner,
        "a",
        """
        INSERT INTO stay (community_id, plate, unit_id, visitor_pass_id, entered_at, entered_gateway, entered_epoch,
                          entered_seq)
        SELECT $1, plate, unit_id, id, ends_at - interval '1 hour', 1, 1, 1 FROM visitor_pass
        WHERE community_id = $1 AND id = $2 RETURNING id
        """,
        made["id"],
    )
    return int(stay["id"])


async def look(db: Database, now: datetime, servers: int = 1) -> None:
    async with database.create_pool(db.app, "test", servers) as pool:
        await asyncio.gather(*(overstays.look(pool, now) for _ in range(servers)))


async def due(db: Database, now: datetime) -> int:
    """Return how many communities a server looks at."""
    async with database.create_pool(db.app, "test", 1) as pool:
        return len(await overstays.due(pool, now))


async def told(owner: Any) -> list[tuple[str, str]]:
    found = await rows(
        owner,
        "a",
        """
        SELECT type, object FROM event WHERE community_id = $1 AND (type LIKE 'violation%' OR type = 'stay.overstayed')
        ORDER BY id
        """,
    )
    return [(event["type"], event["object"]) for event in found]


async def listed(people: People, email: str = "administrator@a.example") -> list[dict[str, Any]]:
    answer = await (await people(email)).get(VIOLATIONS)
    assert answer.status_code == 200, answer.text
    items: list[dict[str, Any]] = answer.json()["items"]
    return items


async def test_an_overstay_is_noticed_once_by_any_number_of_servers(
    filled: Database, owner: Any, people: People
) -> None:
    stay = await visit(owner)
    assert await due(filled, ENDS - timedelta(seconds=1)) == 0
    await look(filled, ENDS + GRACE - timedelta(seconds=1))
    assert await listed(people) == []
    await look(filled, ENDS + GRACE, servers=4)
    # Of the two communities none has anything new to find.
    assert await due(filled, ENDS + 2 * GRACE) == 0
    await look(filled, ENDS + 2 * GRACE)
    (found,) = await listed(people)
    assert (found["kind"], found["plate"], found["unit"], found["stay_id"]) == ("overstay", "7777VIS", "1A", stay)
    assert (found["noticed_by"], found["state"], found["left_at"]) == ("rule", "open", None)
    assert datetime.fromisoformat(found["since"]) == ENDS
    assert [step["actor"] for step in found["steps"]] == ["system:overstay"]
    assert await told(owner) == [
        ("violation.opened", f"violation/{found['id']}"),
        ("stay.overstayed", f"stay/{stay}"),
    ]


async def test_the_community_says_how_long_a_car_may_stay_on(filled: Database, owner: Any, people: People) -> None:
    administrator = await people("administrator@a.example")
    rule = {"overstay_grace_minutes": 5}
    assert (await administrator.patch(f"{A}/rules", json=rule, headers={"If-Match": "*"})).status_code == 200
    await visit(owner)
    await look(filled, ENDS + timedelta(minutes=5))
    assert len(await listed(people)) == 1


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE stay SET left_at = $2, closed_by = 'exit' WHERE community_id = $1 AND $2::timestamptz > entered_at",
        "UPDATE visitor_pass SET ends_at = $2::timestamptz + interval '9 hours' WHERE community_id = $1",
        "INSERT INTO credential (community_id, plate, resident_id) SELECT $1, '7777VIS', min(id) FROM resident "
        "WHERE community_id = $1 AND $2::timestamptz IS NOT NULL",
    ],
    ids=["it left", "the pass goes on", "it is a resident's"],
)
async def test_a_car_that_left_or_may_stay_does_not_overstay(
    filled: Database, owner: Any, people: People, change: str
) -> None:
    await visit(owner)
    await rows(owner, "a", change, ENDS)
    await look(filled, ENDS + 2 * GRACE)
    assert await listed(people) == []


async def test_an_exit_that_was_in_time_but_arrives_late_closes_the_violation(
    filled: Database, owner: Any, people: People
) -> None:
    stay, late = await visit(owner), await visit(owner, "8888VIS")
    await look(filled, ENDS + GRACE)
    for left, minutes in ((stay, 29), (late, 31)):
        await rows(
            owner, "a", "UPDATE stay SET left_at = $2, closed_by = 'exit' WHERE community_id = $1 AND id = $3",
            ENDS + timedelta(minutes=minutes), left,
        )  # fmt: skip
    await look(filled, ENDS + 2 * GRACE, servers=3)
    assert {item["stay_id"]: item["state"] for item in await listed(people)} == {stay: "closed", late: "open"}
    assert [type_ for type_, _ in await told(owner)].count("violation.closed") == 1


async def test_a_car_in_a_booked_space_overstays_by_the_sensor(filled: Database, owner: Any, people: People) -> None:
    await rows(
        owner,
        "a",
        """
        WITH booked AS (
            INSERT INTO booking (community_id, space_id, unit_id, starts_at, ends_at)
            SELECT $1, s.id, u.id, $2::timestamptz - interval '3 hours', $2 FROM space s, unit u
            WHERE s.community_id = $1 AND u.community_id = $1 AND u.name = '1A' AND s.name IN ('a-01', 'a-02', 'a-03')
            RETURNING space_id
        )
        INSERT INTO space_state (community_id, space_id, status, changed_at, received_at, gateway_id)
        SELECT $1, s.id, CASE s.name WHEN 'a-02' THEN 'free' ELSE 'occupied' END,
               CASE s.name WHEN 'a-03' THEN $2 ELSE $2 - interval '2 hours' END, now(),
               (SELECT id FROM gateway WHERE community_id = $1)
        FROM booked JOIN space s ON s.id = booked.space_id WHERE s.community_id = $1
        """,
        ENDS,
    )
    await rows(owner, "a", "UPDATE gateway SET last_heartbeat_at = now() WHERE community_id = $1")
    await look(filled, ENDS + GRACE)
    (found,) = await listed(people)
    # a-02 is free again, and the car in a-03 came as the booking ended.
    assert (found["space"], found["plate"], found["unit"]) == ("a-01", None, "1A")
    assert [item["id"] for item in await listed(people, "resident@a.example")] == [found["id"]]


async def test_staff_open_warn_and_close_and_each_step_says_who(people: People, owner: Any) -> None:
    administrator = await people("administrator@a.example")
    made = await administrator.post(VIOLATIONS, json=SEEN | {"space": "a-01"})
    assert made.status_code == 201, made.text
    here = f"{VIOLATIONS}/{made.json()['id']}"
    assert (made.json()["unit"], made.json()["plate"], made.json()["space"]) == ("2B", "5678AXX", "a-01")
    mark = {"If-Match": made.headers["ETag"]}
    warned = await administrator.post(f"{here}/warn", json={"note": "Called Luis."}, headers=mark)
    assert warned.status_code == 200, warned.text
    assert (await administrator.post(f"{here}/close", json={}, headers=mark)).status_code == 412
    closed = await administrator.post(f"{here}/close", json={"note": "Gone."}, headers={"If-Match": "*"})
    assert [(step["state"], step["note"]) for step in closed.json()["steps"]] == [
        ("open", ""), ("warned", "Called Luis."), ("closed", "Gone."),
    ]  # fmt: skip
    assert len({step["actor"] for step in closed.json()["steps"]}) == 1
    again = await administrator.post(f"{here}/close", json={}, headers={"If-Match": "*"})
    assert (again.status_code, again.json()["type"]) == (409, "urn:parkmesh:problem:state")
    assert [type_ for type_, _ in await told(owner)] == ["violation.opened", "violation.closed"]


async def test_a_resident_sees_and_appeals_what_concerns_the_own_unit(people: People, owner: Any) -> None:
    await held_for_long(owner)
    administrator, resident = await people("administrator@a.example"), await people("resident@a.example")
    own = (await administrator.post(VIOLATIONS, json=SEEN | {"plate": "1234BCD"})).json()["id"]
    others = (await administrator.post(VIOLATIONS, json=SEEN)).json()["id"]
    assert [item["id"] for item in (await resident.get(VIOLATIONS)).json()["items"]] == [own]
    assert (await resident.get(f"{VIOLATIONS}/{others}")).status_code == 404
    for path, status in (
        (f"{own}/close", 403),
        (f"{own}/warn", 403),
        (f"{others}/appeal", 404),
        (f"{own}/appeal", 200),
    ):
        answer = await resident.post(f"{VIOLATIONS}/{path}", json={"note": "Unloading."}, headers={"If-Match": "*"})
        assert answer.status_code == status, f"{path}: {answer.text}"
    shown = await resident.get(f"{VIOLATIONS}/{own}")
    # Which of the administrators wrote it is not theirs to know.
    assert [step["actor"] == "" for step in shown.json()["steps"]] == [True, False]
    assert (await administrator.get(VIOLATIONS, params={"state": "appealed"})).json()["items"][0]["id"] == own
    # Whoever moves in later doesn't inherit it.
    await rows(owner, "a", "UPDATE resident SET unit_since = now() WHERE community_id = $1")
    assert (await resident.get(VIOLATIONS)).json()["items"] == []


async def test_a_resident_s_report_tells_nothing_about_others(people: People, owner: Any) -> None:
    resident, administrator = await people("resident@a.example"), await people("administrator@a.example")
    made = await resident.post(VIOLATIONS, json=SEEN)
    assert made.status_code == 201, made.text
    assert (made.json()["noticed_by"], made.json()["unit"], made.json()["evidence"]) == (
        "resident", None, SEEN["evidence"],
    )  # fmt: skip
    here = f"{VIOLATIONS}/{made.json()['id']}"
    await administrator.post(f"{here}/warn", json={"note": "To 2B."}, headers={"If-Match": "*"})
    shown = (await resident.get(here)).json()
    assert (shown["state"], [step["note"] for step in shown["steps"]]) == ("warned", ["", ""])
    appeal = await resident.post(f"{here}/appeal", json={"note": "Me too."}, headers={"If-Match": "*"})
    assert appeal.status_code == 403
    answers = [(await resident.post(VIOLATIONS, json=SEEN)).status_code for _ in range(violations.REPORTS_A_DAY)]
    assert answers == [201] * (violations.REPORTS_A_DAY - 1) + [429]


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"plate": None}, "plate"),
        ({"plate": "?"}, "plate"),
        ({"space": "z-99"}, "space"),
        ({"since": "2099-01-01T00:00:00Z"}, "since"),
        ({"evidence": ""}, "evidence"),
        ({"kind": "theft"}, "kind"),
    ],
)
async def test_a_wrong_violation_is_refused_with_the_field(people: People, change: dict[str, Any], field: str) -> None:
    answer = await (await people("administrator@a.example")).post(VIOLATIONS, json=SEEN | change)
    assert answer.status_code == 422
    assert field in answer.text


async def test_retention_keeps_open_violations_longer_and_none_for_good(filled: Database, people: People) -> None:
    administrator = await people("administrator@a.example")
    made = [(await administrator.post(VIOLATIONS, json=SEEN)).json()["id"] for _ in range(2)]
    await administrator.post(f"{VIOLATIONS}/{made[0]}/close", json={}, headers={"If-Match": "*"})
    now, left = datetime.now(UTC), []
    connection = await asyncpg.connect(filled.owner)
    try:
        for days in (29, 31, 181):
            await retention.run(connection, now + timedelta(days=days))
            left.append([item["id"] for item in await listed(people)])
    finally:
        await connection.close()
    assert left == [made[::-1], made[1:], []]


async def test_erasing_a_person_forgets_plate_evidence_and_what_they_wrote(people: People, owner: Any) -> None:
    await held_for_long(owner)
    administrator, resident = await people("administrator@a.example"), await people("resident@a.example")
    own = (await administrator.post(VIOLATIONS, json=SEEN | {"plate": "1234BCD"})).json()["id"]
    await resident.post(f"{VIOLATIONS}/{own}/appeal", json={"note": "I am Ana."}, headers={"If-Match": "*"})
    reported = (await resident.post(VIOLATIONS, json=SEEN | {"evidence": "I, Ana, saw it."})).json()["id"]
    await administrator.post(f"{A}/checks", json={"plate": "1234BCD"})
    members = (await administrator.get(f"{A}/members")).json()["items"]
    person = next(item["resident_id"] for item in members if item["email"] == "resident@a.example")
    exported = (await administrator.get(f"{A}/residents/{person}/personal-data")).json()
    assert [(item["plate"], item["written"]) for item in exported["violations"]] == [
        ("5678AXX", ""), ("1234BCD", "I am Ana."),
    ]  # fmt: skip
    assert [item["plate"] for item in exported["checks"]] == ["1234BCD"]
    erased = await administrator.post(f"{A}/residents/{person}/erase", json={"confirm": "resident@a.example"})
    assert erased.status_code == 200, erased.text
    found = {item["id"]: item for item in await listed(people)}
    assert (found[own]["plate"], found[own]["evidence"]) == (None, "")
    assert [step["note"] for step in found[own]["steps"]] == ["", ""]
    # The other's plate is the other's.
    assert (found[reported]["plate"], found[reported]["evidence"]) == ("5678AXX", "")
    assert (await administrator.get(f"{A}/checks")).json()["items"] == []
