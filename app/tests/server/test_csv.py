"""Tables in and out: every mistake by its line, all or nothing, and nothing that a spreadsheet would calculate."""

import csv
import io
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any
from zoneinfo import ZoneInfo

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from parkmesh.server.people import csv_export, csv_import, csv_tables
from two_communities import rows

Gateway = Callable[[str], httpx.AsyncClient]
People = Callable[[str], Any]
A = "/api/v1/communities/a"
MADRID = ZoneInfo("Europe/Madrid")
CSV = {"Content-Type": "text/csv; charset=utf-8"}


async def _import(client: httpx.AsyncClient, kind: str, table: str | bytes, *, dry_run: bool = False) -> httpx.Response:
    data = table.encode() if isinstance(table, str) else table
    return await client.post(f"{A}/imports/{kind}", params={"dry_run": dry_run}, content=data, headers=CSV)


def _counts(answer: httpx.Response) -> tuple[bool, int, int, int]:
    report = answer.json()
    return report["applied"], report["created"], report["updated"], report["unchanged"]


async def test_a_community_moves_in_by_tables(people: People, gateway: Gateway, owner: Any) -> None:
    admin = await people("administrator@a.example")
    units = "name,lots\r\n1A,2\r\n3C,\r\n\r\n4D,1\r\n"
    assert _counts(await _import(admin, "units", units)) == (True, 2, 1, 0)
    assert _counts(await _import(admin, "units", units)) == (True, 0, 0, 3)
    # What German and Spanish spreadsheets write: a byte order mark and semicolons.
    residents = '\ufeffEmail;Name;Unit\nEva@A.example;"Eva; María";3C\nluis@a.example;Luis;\n'
    assert _counts(await _import(admin, "residents", residents)) == (True, 1, 0, 1)
    plates = "plate;email;label;valid_until\n1111 bbb;eva@a.example;Van;2027-01-01T00:00:00+01:00\n2222CCC;;Post;\n"
    assert _counts(await _import(admin, "plates", plates)) == (True, 2, 0, 0)
    assert _counts(await _import(admin, "plates", plates)) == (True, 0, 0, 2)
    spaces = "name;level;category;ev\na-01;P2;;yes\nb-07;P1;visitor;\n"
    assert _counts(await _import(admin, "spaces", spaces)) == (True, 1, 1, 0)
    found = await rows(
        owner,
        "a",
        """
        SELECT r.name, u.name AS unit, u.lots, c.plate, c.label FROM resident r
        JOIN unit u ON u.community_id = r.community_id AND u.id = r.unit_id
        JOIN credential c ON c.community_id = r.community_id AND c.resident_id = r.id
        WHERE r.community_id = $1 ORDER BY c.plate
        """,
    )
    assert [tuple(row.values()) for row in found] == [
        ("Eva; María", "3C", None, "1111BBB", "Van"),
        ("Ana", "1A", 2, "1234BCD", ""),
        ("Luis", "2B", None, "5678AXX", ""),
    ]
    state = await rows(
        owner, "a", "SELECT name, level, category, ev FROM space WHERE community_id = $1 AND name IN ('a-01', 'b-07')"
    )
    assert sorted(tuple(row.values()) for row in state) == [
        ("a-01", "P2", "assigned", True),
        ("b-07", "P1", "visitor", False),
    ]
    async with gateway("gateway-a") as client:
        entries = (await client.get("/edge/v1/access-list")).json()["entries"]
    assert sorted(entry["plate"] for entry in entries) == ["1111BBB", "1234BCD", "2222CCC", "5678AXX"]
    acts = await rows(owner, "a", "SELECT action FROM audit_entry WHERE community_id = $1 AND action LIKE '%.import'")
    assert len(acts) == 6


async def test_a_dry_run_does_nothing(people: People, owner: Any) -> None:
    admin = await people("administrator@a.example")
    before = await rows(owner, "a", "SELECT access_list_version FROM community WHERE id = $1")
    tried = await _import(
        admin, "plates", "plate,email\n1111BBB,luis@a.example\n5678AXX,luis@a.example\n", dry_run=True
    )
    assert _counts(tried) == (False, 1, 0, 1)
    assert len(await rows(owner, "a", "SELECT FROM credential WHERE community_id = $1")) == 2
    assert await rows(owner, "a", "SELECT access_list_version FROM community WHERE id = $1") == before
    assert await rows(owner, "a", "SELECT FROM audit_entry WHERE community_id = $1") == []
    # A table is applied only where the request asks for it.
    default = await admin.post(f"{A}/imports/units", content=b"name\n9Z\n", headers=CSV)
    assert default.json()["applied"] is False


MISTAKES: list[tuple[str, str | bytes, list[tuple[int, str | None, str]]]] = [
    ("units", "", [(1, None, "no header")]),
    ("units", "nombres,lots\n1A,2\n", [(1, "nombres", "no such column"), (1, "name", "missing")]),
    ("units", "name,name\n1A,2\n", [(1, "name", "twice")]),
    (
        "units",
        "name,lots\n1A,2\n,3\n2B,-1\n3C,two\n4D,\n",
        [(3, "name", "empty"), (4, "lots", "0 to 1000"), (5, "lots", "0 to 1000")],
    ),
    ("units", "name\n7G\n8H\n7G\n", [(4, "name", "line 2")]),
    ("units", "name,lots\n7G\n", [(2, None, "1 cells where the header has 2")]),
    ("units", 'name\n"7G\n', [(2, None, "not read")]),
    ("units", b"name\n1A\nPe\x81a\n", [(3, None, "UTF-8")]),
    ("units", b"\xef\xbb\xbfname\n1A\nPe\xf1a\n", [(3, None, "UTF-8")]),
    ("units", b"\xff\xfen\x00a\x00m\x00e\x00\n\x00\x00\xd8\n\x00", [(2, None, "UTF-8")]),
    ("residents", "email;name\nb@a.example;Begoña\nc@a.example;Bego\ufffda\n", [(3, None, "a letter was lost")]),
    ("units", 'name\n"1\nA"\n\ufffd\n2\ufffd\n', [(4, None, "a letter was lost"), (5, None, "a letter was lost")]),
    ("units", "sep=;\nname;lots\n1A;x\n", [(3, "lots", "0 to 1000")]),
    ("units", "name\n1\x00A\n", [(2, None, "zero")]),
    ("units", "name\n1\x07A\n", [(2, "name", "control")]),
    ("units", f"name\n{'x' * 61}\n{'y' * 600}\n", [(2, "name", "60"), (3, "name", "500")]),
    ("residents", "email,name,unit\nnobody,Eva,\neva@a.example,Eva,9Z\n", [(2, "email", "address")]),
    ("residents", "email,name,unit\neva@a.example,Eva,9Z\n", [(2, "unit", "no such unit")]),
    ("plates", "plate,email\n??,\n1111BBB,nobody@a.example\n", [(2, "plate", "licence plate")]),
    ("plates", "plate,email\n1111BBB,nobody@a.example\n", [(2, "email", "no such resident")]),
    (
        "plates",
        "plate,valid_from,valid_until\n1A1,2026-01-02T00:00Z,2026-01-01T00:00Z\n",
        [(2, "valid_until", "not after")],
    ),
    ("plates", "plate,valid_from\n1A1,2026-01-02\n", [(2, "valid_from", "offset")]),
    ("plates", "plate\n1111-bbb\n1111 BBB\n", [(3, "plate", "line 2")]),
    (
        "spaces",
        "name,category,ev\nA 1,,\na-1,roof,\na-2,,perhaps\n",
        [(2, "name", "name"), (3, "category", "assigned"), (4, "ev", "yes")],
    ),
]


@pytest.mark.parametrize(("kind", "table", "expected"), MISTAKES, ids=range(len(MISTAKES)))
async def test_mistakes_are_named_and_nothing_is_applied(
    people: People, owner: Any, kind: str, table: str | bytes, expected: list[tuple[int, str | None, str]]
) -> None:
    admin = await people("administrator@a.example")
    before = await rows(owner, "a", "SELECT name FROM unit WHERE community_id = $1")
    tried = await _import(admin, kind, table, dry_run=True)
    assert tried.status_code == 200, tried.text
    found = tried.json()["mistakes"]
    assert [(item["line"], item["column"]) for item in found] == [(line, column) for line, column, _ in expected]
    assert all(what in item["what"] for item, (_, _, what) in zip(found, expected, strict=True)), found
    refused = await _import(admin, kind, table)
    assert (refused.status_code, refused.json()["mistakes"]) == (422, found)
    assert await rows(owner, "a", "SELECT name FROM unit WHERE community_id = $1") == before


async def test_a_unit_gets_no_more_plates_than_it_may(people: People, owner: Any) -> None:
    admin = await people("administrator@a.example")
    await _import(admin, "units", "name,plate_limit\n1A,2\n")
    table = "plate,email\n1111BBB,resident@a.example\n2222CCC,resident@a.example\n3333DDD,luis@a.example\n"
    found = (await _import(admin, "plates", table, dry_run=True)).json()["mistakes"]
    assert [(item["line"], item["column"]) for item in found] == [(2, "plate"), (3, "plate")]
    assert (await _import(admin, "plates", table)).status_code == 422
    assert len(await rows(owner, "a", "SELECT FROM credential WHERE community_id = $1")) == 2


async def test_a_space_that_somebody_has_keeps_its_category(people: People, owner: Any) -> None:
    admin = await people("administrator@a.example")
    (unit,) = await rows(owner, "a", "SELECT id FROM unit WHERE community_id = $1 AND name = '1A'")
    begins = datetime.now(UTC).isoformat()
    assigned = {"space": "a-01", "unit_id": unit["id"], "from": begins}
    assert (await admin.post(f"{A}/assignments", json=assigned)).status_code == 201
    table = "name,category\na-02,shared\na-01,shared\n"
    (mistake,) = (await _import(admin, "spaces", table, dry_run=True)).json()["mistakes"]
    assert (mistake["line"], mistake["column"]) == (3, "category")
    assert (await _import(admin, "spaces", table)).status_code == 422
    kept = await rows(owner, "a", "SELECT DISTINCT category FROM space WHERE community_id = $1")
    assert kept == [{"category": "assigned"}]


async def test_tables_are_bounded_and_for_staff(people: People) -> None:
    admin, resident = await people("administrator@a.example"), await people("resident@a.example")
    big = "name\n" + "\n".join(f"unit {n}" for n in range(csv_import.MAX_ROWS + 1))
    (mistake,) = (await _import(admin, "units", big, dry_run=True)).json()["mistakes"]
    assert (mistake["line"], mistake["what"]) == (csv_import.MAX_ROWS + 2, "more than 10000 rows")
    assert len(big) > 64 * 1024
    assert (await _import(admin, "units", b"x" * (csv_import.MAX_BYTES + 1))).status_code == 413
    many = "name,lots\n" + "\n".join(f"{n},x" for n in range(1000))
    report = (await _import(admin, "units", many, dry_run=True)).json()
    assert (report["mistake_count"], len(report["mistakes"])) == (1000, csv_import.MAX_MISTAKES)
    assert (await _import(resident, "units", "name\n9Z\n")).status_code == 403
    assert (await resident.get(f"{A}/exports/people")).status_code == 403
    assert (await admin.post(f"{A}/imports/units", json={})).status_code == 415
    assert (await _import(admin, "cars", "name\n9Z\n")).status_code == 422


async def _export(client: httpx.AsyncClient, kind: str, **params: str) -> list[dict[str, str]]:
    answer = await client.get(f"{A}/exports/{kind}", params=params)
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == "text/csv; charset=utf-8"
    assert f"a-{kind}.csv" in answer.headers["content-disposition"]
    return list(csv.DictReader(io.StringIO(answer.content.decode("utf-8-sig")), delimiter=";"))


async def test_exports_hold_no_formula_and_come_back_as_they_were(people: People, owner: Any) -> None:
    admin = await people("administrator@a.example")
    evil = '=HYPERLINK("http://evil.test";"x")'
    await admin.post(f"{A}/residents", json={"email": "+eva@a.example", "name": evil})
    await admin.post(f"{A}/vehicles", json={"plate": "1111BBB", "label": "@SUM(1)"})
    exported = {row["email"]: row["name"] for row in await _export(admin, "people")}
    assert exported == {"resident@a.example": "Ana", "luis@a.example": "Luis", "'+eva@a.example": f"'{evil}"}
    assert "'@SUM(1)" in {row["label"] for row in await _export(admin, "credentials")}
    table = f"email;name\n'+eva@a.example;\"'{evil.replace(chr(34), chr(34) * 2)}\"\n"
    assert _counts(await _import(admin, "residents", table)) == (True, 0, 0, 1)
    spaces = await _export(admin, "spaces")
    assert [row["name"] for row in spaces] == [f"a-{n:02}" for n in range(1, 7)]
    acts = await rows(owner, "a", "SELECT action FROM audit_entry WHERE community_id = $1 AND action LIKE '%.export'")
    assert sorted(act["action"] for act in acts) == ["credentials.export", "people.export", "spaces.export"]


async def test_passages_are_exported_over_many_batches(
    people: People, gateway: Gateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(csv_export, "BATCH", 5)
    passage = {"type": "passage", "gate": "main-in", "direction": "entry", "decision": "denied", "reason": "no_plate"}
    times = [1_790_000_000_000 + seq // 4 * 1000 for seq in range(1, 24)]
    events = [
        passage | {"seq": seq, "plate": f"P{seq}", "times": {"received": received}}
        for seq, received in enumerate(times, 1)
    ]
    async with gateway("gateway-a") as client:
        await client.post("/edge/v1/events", json={"epoch": 1, "events": events})
    admin = await people("administrator@a.example")
    assert [row["plate"] for row in await _export(admin, "passages")] == [f"P{seq}" for seq in range(23, 0, -1)]
    since, until = (datetime.fromtimestamp(1_790_000_000 + s, UTC).isoformat() for s in (2, 4))
    some = await _export(admin, "passages", since=since, until=until)
    assert [row["plate"] for row in some] == [f"P{seq}" for seq in range(15, 7, -1)]


@given(st.lists(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00"), max_size=20), min_size=1))
def test_no_cell_begins_like_a_formula(cells: list[str]) -> None:
    (written,) = csv.reader(io.StringIO(csv_tables.line(cells), newline=""), delimiter=";")
    for cell, out in zip(cells, written, strict=True):
        assert not out.lstrip().startswith(("=", "+", "-", "@"))
        assert not out.startswith(("\t", "\r"))
        assert out in (cell, f"'{cell}")


@given(st.binary(max_size=300) | st.text(max_size=300).map(lambda text: f"name,lots\n{text}".encode("utf-8", "ignore")))
def test_whatever_the_file_is_it_is_read_or_refused(data: bytes) -> None:
    table = csv_tables.read(csv_import.COLUMNS["units"], data, 10, MADRID)
    assert all(row["name"] for row in table.rows)
    assert all(mistake.line >= 1 for mistake in table.mistakes)
