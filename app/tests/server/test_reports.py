"""Reports: what they count, days that summer time changes, tables, and who may see them."""

import json
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import httpx
import pytest
from page_visitor import Visitor
from parkmesh.server.db import database
from parkmesh.server.reports import reports
from running_server import Database
from two_communities import rows

Gateway = Callable[[str], httpx.AsyncClient]
People = Callable[[str], Any]
REPORTS = "/api/v1/communities/a/reports"
MADRID = ZoneInfo("Europe/Madrid")
AUTUMN, SPRING = date(2026, 10, 25), date(2027, 3, 28)
LATER = datetime(2027, 5, 1, tzinfo=UTC)


@pytest.fixture
async def read(filled: Database, owner: Any) -> Callable[..., Any]:
    """Return a function that reads a report of community a."""
    (community,) = await rows(owner, "a", "SELECT id FROM community WHERE id = $1")

    async def report(kind: reports.Kind, first: date, last: date | None = None, now: datetime = LATER) -> Any:
        async with (
            database.create_pool(filled.app, "test", 1) as pool,
            database.in_community(pool, community["id"], read_only=True) as connection,
        ):
            return await reports.read(connection, community["id"], kind, first, last or first, now)

    return report


async def stay(
    owner: Any, plate: str, entered: str, left: str | None, *, visitor: bool = False, unit: str = "1A"
) -> None:
    await rows(
        owner,
        "a",
        """
        INSERT INTO stay (community_id, plate, unit_id, visitor_pass_id, entered_at, entered_gateway, entered_epoch,
                          entered_seq, left_at, closed_by)
        SELECT $1, $2, u.id, CASE WHEN $6 THEN 1 END, $3, 1, 1, 1, $4,
               CASE WHEN $4::timestamptz IS NOT NULL THEN 'exit' END
        FROM unit u WHERE u.community_id = $1 AND u.name = $5 RETURNING 1
        """,
        plate,
        datetime.fromisoformat(entered),
        datetime.fromisoformat(left) if left else None,
        unit,
        visitor,
    )


async def observe(owner: Any, space: str, at: str, status: str) -> None:
    await rows(
        owner,
        "a",
        """
        INSERT INTO observation (community_id, space_id, received_at, gateway_id, epoch, seq, status)
        SELECT $1, s.id, $3, 1, 1, 1, $4 FROM space s WHERE s.community_id = $1 AND s.name = $2 RETURNING 1
        """,
        space,
        datetime.fromisoformat(at),
        status,
    )


@pytest.mark.parametrize(("day", "count"), [(AUTUMN, 25), (SPRING, 23), (date(2026, 11, 1), 24)])
async def test_a_day_has_as_many_rows_as_hours(read: Any, day: date, count: int) -> None:
    found = await read("occupancy-by-hour", day)
    assert len(found) == count
    assert {row.day for row in found} == {day}
    assert {(row.inside_min, row.inside_max, row.inside_avg, row.unknown_share) for row in found} == {(0, 0, 0.0, 1.0)}


async def test_cars_inside_and_free_spaces_by_hour(read: Any, owner: Any) -> None:
    await stay(owner, "LONG1", "2026-10-24T20:00+02:00", None)
    # Through the hour that comes twice, and half of the next.
    await stay(owner, "TWICE", "2026-10-25T02:30+02:00", "2026-10-25T03:30+01:00")
    await observe(owner, "a-01", "2026-10-24T23:00+02:00", "free")
    await observe(owner, "a-01", "2026-10-25T02:45+02:00", "occupied")
    await observe(owner, "a-02", "2026-10-25T01:00+02:00", "unknown")
    await observe(owner, "a-03", "2026-10-25T01:15+02:00", "free")
    found = {(row.hour, row.utc_offset): row for row in await read("occupancy-by-hour", AUTUMN)}
    inside = {key: (row.inside_min, row.inside_max, row.inside_avg) for key, row in found.items()}
    assert inside[1, "+02:00"] == (1, 1, 1.0)
    assert inside[2, "+02:00"] == (1, 2, 1.5)
    assert inside[2, "+01:00"] == (2, 2, 2.0)
    assert inside[3, "+01:00"] == (1, 2, 1.5)
    free = {key: (row.free_avg, row.unknown_share) for key, row in found.items()}
    # Six spaces: of one the state is known all day, of another from a quarter past one.
    assert free[0, "+02:00"] == (1.0, round(5 / 6, 4))
    assert free[1, "+02:00"] == (1.75, round(4.25 / 6, 4))
    assert free[2, "+02:00"] == (1.75, round(4 / 6, 4))
    assert free[2, "+01:00"] == (1.0, round(4 / 6, 4))


async def test_hours_that_have_not_begun_are_unknown_and_one_goes_on(read: Any, owner: Any) -> None:
    await stay(owner, "LATE1", "2026-11-29T10:15+01:00", None)
    now = datetime.fromisoformat("2026-11-29T10:30+01:00")
    found = await read("occupancy-by-hour", date(2026, 11, 29), now=now)
    assert len(found) == 24
    assert (found[9].inside_avg, found[10].inside_avg, found[11].inside_avg) == (0.0, 0.5, None)


async def test_use_of_spaces_counts_the_time_in_which_their_state_is_known(read: Any, owner: Any) -> None:
    await observe(owner, "a-01", "2026-10-20T12:00+02:00", "occupied")
    await observe(owner, "a-01", "2026-10-25T06:00+01:00", "free")
    await observe(owner, "a-02", "2026-10-25T12:00+01:00", "free")
    await observe(owner, "a-02", "2026-10-25T18:00+01:00", "occupied")
    found = {row.space: (row.occupied_minutes, row.share) for row in await read("space-use", AUTUMN)}
    assert found["a-01"] == (7 * 60, round(7 / 25, 4))
    assert found["a-02"] == (6 * 60, 0.5)
    assert found["a-03"] == (0, None)
    assert len(found) == 6


async def test_visitors_nights_are_those_at_four_in_the_morning(read: Any, owner: Any) -> None:
    await rows(
        owner,
        "a",
        """
        INSERT INTO visitor_pass (community_id, unit_id, starts_at, ends_at, month, token_sha256, status, cancelled_at)
        SELECT $1, u.id, starts, starts + interval '2 hours', starts, sha256(n::text::bytea), status, cancelled
        FROM unit u, (VALUES (1, '2026-10-25T10:00+01:00'::timestamptz, 'active', NULL::timestamptz),
                             (2, '2026-10-25T11:00+01:00', 'cancelled', '2026-10-24T11:00+01:00'),
                             (3, '2026-10-26T11:00+01:00', 'active', NULL)) AS v(n, starts, status, cancelled)
        WHERE u.community_id = $1 AND u.name = '1A' RETURNING 1
        """,
    )
    await stay(owner, "DINNER", "2026-10-24T20:00+02:00", "2026-10-25T01:00+02:00", visitor=True)
    await stay(owner, "NIGHT1", "2026-10-24T20:00+02:00", "2026-10-25T09:00+01:00", visitor=True)
    await stay(owner, "WEEK01", "2026-10-23T20:00+02:00", None, visitor=True, unit="2B")
    await stay(owner, "OWNCAR", "2026-10-23T20:00+02:00", None)
    found = await read("visitors", AUTUMN, date(2026, 10, 31), now=datetime.fromisoformat("2026-10-28T12:00+01:00"))
    assert [(row.unit, row.passes, row.nights) for row in found] == [("1A", 2, 1), ("2B", 0, 4)]
    (one,) = [row for row in await read("visitors", AUTUMN) if row.unit == "1A"]
    assert (one.passes, one.nights) == (1, 1)


async def test_sharing_counts_what_is_offered_and_what_is_booked(read: Any, owner: Any) -> None:
    await rows(
        owner,
        "a",
        """
        INSERT INTO shared_window (community_id, space_id, unit_id, starts_at, ends_at)
        SELECT $1, s.id, u.id, starts, ends FROM space s, unit u, (VALUES
            ('2026-10-24T22:00+02:00'::timestamptz, '2026-10-25T04:00+01:00'::timestamptz),
            ('2026-10-25T10:00+01:00', '2026-10-25T12:00+01:00'),
            ('2026-10-27T10:00+01:00', '2026-10-27T12:00+01:00')) AS w(starts, ends)
        WHERE s.community_id = $1 AND s.name = 'a-01' AND u.community_id = $1 AND u.name = '1A' RETURNING 1
        """,
    )
    await rows(
        owner,
        "a",
        """
        INSERT INTO booking (community_id, space_id, unit_id, starts_at, ends_at, status, cancelled_at)
        SELECT $1, s.id, u.id, starts, ends, status, CASE status WHEN 'cancelled' THEN now() END
        FROM space s, unit u, (VALUES
            ('2026-10-25T10:30+01:00'::timestamptz, '2026-10-25T11:00+01:00'::timestamptz, 'active'),
            ('2026-10-25T11:00+01:00', '2026-10-25T12:00+01:00', 'cancelled')) AS b(starts, ends, status)
        WHERE s.community_id = $1 AND s.name = 'a-01' AND u.community_id = $1 AND u.name = '2B' RETURNING 1
        """,
    )
    (found,) = await read("sharing-use", AUTUMN)
    # From midnight to four there are five hours.
    assert (found.space, found.offered_minutes, found.booked_minutes) == ("a-01", 5 * 60 + 120, 30)


async def test_gates_and_denied_plates_by_page_json_and_table(
    people: People, gateway: Gateway, owner: Any, admin: Visitor
) -> None:
    now = datetime.now(UTC)
    today = now.astimezone(MADRID).date()
    kinds = [
        ("1234BCD", "granted", "exact", True),
        ("1234BCD", "granted", "exact", False),
        ("", "granted", "command", True),
        ("9999ZZZ", "denied", "unknown_plate", None),
        ("9999ZZZ", "denied", "unknown_plate", None),
        ("=1+1", "denied", "unknown_plate", None),
    ]
    events = [
        {
            "type": "passage", "seq": seq, "times": {"received": int(now.timestamp() * 1000) + seq}, "gate": "main-in",
            "direction": "entry", "plate": plate, "decision": decision, "reason": reason, "opened": opened,
        }
        for seq, (plate, decision, reason, opened) in enumerate(kinds, 1)
    ]  # fmt: skip
    async with gateway("gateway-a") as device:
        assert (await device.post("/edge/v1/events", json={"epoch": 1, "events": events})).status_code == 200
    client = await people("administrator@a.example")
    asked = {"from": today.isoformat(), "until": today.isoformat()}
    found = (await client.get(f"{REPORTS}/gates", params=asked)).json()["items"]
    assert found == [
        {"gate": "main-in", "opened_by_plate": 1, "by_hand": 1, "failed": 1},
        {"gate": "main-out", "opened_by_plate": 0, "by_hand": 0, "failed": 0},
    ]
    found = (await client.get(f"{REPORTS}/denied", params=asked)).json()["items"]
    assert [(row["plate"], row["gate"], row["reason"], row["count"]) for row in found] == [
        ("9999ZZZ", "main-in", "unknown_plate", 2),
        ("=1+1", "main-in", "unknown_plate", 1),
    ]
    table = await client.get(f"{REPORTS}/denied/csv", params=asked)
    assert table.headers["content-type"] == "text/csv; charset=utf-8"
    lines = table.content.decode("utf-8-sig").splitlines()
    first = (now + timedelta(milliseconds=4)).astimezone(MADRID).isoformat(timespec="seconds")
    assert lines[0] == "plate;gate;reason;count;first;last"
    assert lines[1].startswith(f"9999ZZZ;main-in;unknown_plate;2;{first};")
    # Nothing that a spreadsheet would calculate.
    assert lines[2].startswith("'=1+1;")
    (act,) = await rows(
        owner, "a", "SELECT object, detail FROM audit_entry WHERE community_id = $1 AND action = 'report.export'"
    )
    assert (act["object"], json.loads(act["detail"])) == ("report/denied", asked)
    page = (await admin.get(f"/communities/a/reports?report=denied&from={today}&until={today}")).text
    assert page.count('data-testid="report-row"') == 2
    assert "Unknown plate" in page
    assert "Main entry" in page
    assert f'href="{REPORTS}/denied/csv?from={today}&amp;until={today}"' in page


@pytest.mark.parametrize("kind", reports.REPORTS)
async def test_every_report_has_its_page_its_json_and_its_table(people: People, admin: Visitor, kind: str) -> None:
    client = await people("administrator@a.example")
    asked = {"from": "2026-10-20", "until": "2026-10-26"}
    answer = await client.get(f"{REPORTS}/{kind}", params=asked)
    assert answer.status_code == 200, answer.text
    table = (await client.get(f"{REPORTS}/{kind}/csv", params=asked)).text.splitlines()
    assert len(table) == 1 + len(answer.json()["items"])
    page = await admin.get(f"/communities/a/reports?report={kind}&from=2026-10-20&until=2026-10-26")
    assert page.status_code == 200
    assert page.text.count('data-testid="report-row"') == len(answer.json()["items"])
    assert (await admin.get(f"/communities/a/reports?report={kind}")).status_code == 200
    resident = await people("resident@a.example")
    for address in (f"{REPORTS}/{kind}", f"{REPORTS}/{kind}/csv"):
        assert (await resident.get(address, params=asked)).status_code == 403


@pytest.mark.parametrize(
    ("asked", "says"),
    [
        ({"from": "2026-10-25", "until": "2026-10-24"}, "The last day lies before the first."),
        ({"from": "2026-10-01", "until": "2026-11-01"}, "at most 31 days"),
        ({"from": "2026-10-01"}, "until"),
        ({"from": "yesterday", "until": "2026-10-01"}, "from"),
        ({"from": "0001-01-01", "until": "0001-01-02"}, "from"),
        ({"from": "2099-12-31", "until": "2099-12-31"}, None),
    ],
)
async def test_days_that_make_no_report(
    people: People, admin: Visitor, asked: dict[str, str], says: str | None
) -> None:
    client = await people("administrator@a.example")
    answer = await client.get(f"{REPORTS}/occupancy-by-hour", params=asked)
    page = await admin.get(f"/communities/a/reports?{'&'.join(f'{name}={value}' for name, value in asked.items())}")
    if says is None:
        assert (answer.status_code, page.status_code) == (200, 200)
        assert {row["inside_avg"] for row in answer.json()["items"]} == {None}
    else:
        assert answer.status_code == 422
        assert says in answer.text
        # A page without a last day takes today.
        assert page.status_code == 422
