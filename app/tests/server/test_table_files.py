"""Files of spreadsheets: their encodings, separators, headers and workbooks; and what was exported comes back."""

import csv
import io
import re
import tracemalloc
import zipfile
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import httpx
import openpyxl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from page_visitor import Visitor, alerts, visiting
from parkmesh.domain import plates
from parkmesh.server.people import csv_export, csv_import, csv_tables, table_headers, table_workbook
from running_server import Server
from two_communities import rows

People = Callable[[str], Any]
MADRID = ZoneInfo("Europe/Madrid")
A, B = "/api/v1/communities/a", "/api/v1/communities/b"
ADMIN = "administrator@a.example"
CSV, XLSX = "text/csv", "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"
NAMES = "SELECT email, name FROM resident WHERE community_id = $1 ORDER BY email"

# What Excel on a Spanish Windows saves as "CSV (delimitado por comas)".
BEGONA = "Correo electrónico;Nombre;Vivienda\r\nbego@a.example;Begoña;1A\r\njose@a.example;José Núñez;2B\r\n"


async def send(
    client: httpx.AsyncClient, kind: str, data: bytes, base: str = A, media_type: str = CSV, **query: Any
) -> httpx.Response:
    answer: httpx.Response = await client.post(
        f"{base}/imports/{kind}", params={"dry_run": False, **query}, content=data, headers={"Content-Type": media_type}
    )
    return answer


def workbook(*lines: list[Any], **options: Any) -> bytes:
    """Return a workbook whose first sheet has these rows; a second sheet is there too."""
    book = openpyxl.Workbook()
    for line in lines:
        book.active.append(line)
    for name, form in options.items():
        book.active[name].number_format = form
    book.create_sheet("notes").append(["no", "header"])
    out = io.BytesIO()
    book.save(out)
    return out.getvalue()


def read(kind: csv_import.Kind, data: bytes, max_rows: int = 100) -> csv_tables.Table:
    return csv_tables.read(csv_import.COLUMNS[kind], data, max_rows, MADRID)


# Encodings


async def test_begona_keeps_her_name_in_windows_1252(people: People, owner: Any) -> None:
    admin = await people(ADMIN)
    data = BEGONA.encode("cp1252")
    tried = (await send(admin, "residents", data, dry_run=True)).json()
    assert (tried["encoding"], tried["sample"], tried["mistakes"]) == ("windows-1252", ["Begoña", "José Núñez"], [])
    # Almost any bytes are text in Windows-1252: nobody has looked yet.
    refused = await send(admin, "residents", data)
    assert (refused.status_code, refused.json()["sample"]) == (422, ["Begoña", "José Núñez"])
    assert refused.json()["type"].endswith("encoding")
    assert len(await rows(owner, "a", NAMES)) == 2
    assert (await send(admin, "residents", data, encoding="windows-1252")).json()["created"] == 2
    named = {row["email"]: row["name"] for row in await rows(owner, "a", NAMES)}
    assert (named["bego@a.example"], named["jose@a.example"]) == ("Begoña", "José Núñez")
    # Another file than the one that was looked at.
    other = await send(admin, "residents", BEGONA.encode(), encoding="windows-1252")
    assert (other.status_code, other.json()["encoding"]) == (422, "utf-8")


async def test_begona_keeps_her_name_on_the_page(server: Server, owner: Any) -> None:
    page = "/communities/a/transfer"
    async with visiting(server.web, ADMIN) as admin:
        tried = await upload(admin, BEGONA.encode("cp1252"))
        sample = re.search(r'data-testid="encoding-sample">(.*?)</div>', tried.text, re.S)
        assert sample
        assert "Begoña" in sample[1]
        assert "�" not in tried.text
        hidden = dict(re.findall(r'<input type="hidden" name="(\w+)" value="([^"]*)"', tried.text))
        assert hidden["encoding"] == "windows-1252"
        # Without the confirmation nothing is taken over.
        fields = {name: hidden[name] for name in ("kind", "act", "data")}
        refused = await admin.send(page, of=page, **fields)
        assert "Look at the sample" in alerts(refused)
        done = await admin.send(page, of=page, **fields, encoding=hidden["encoding"])
        assert done.headers["location"] == f"{page}?done=imported"
    assert ("bego@a.example", "Begoña") in [tuple(row.values()) for row in await rows(owner, "a", NAMES)]


async def test_nothing_is_asked_where_only_the_header_shows_the_encoding(people: People) -> None:
    admin = await people(ADMIN)
    table = "Matrícula;Correo electrónico\r\n1111BBB;resident@a.example\r\n".encode("cp1252")
    report = (await send(admin, "plates", table)).json()
    assert (report["applied"], report["encoding"], report["sample"]) == (True, "windows-1252", [])


async def upload(visitor: Visitor, data: bytes, kind: str = "residents", **fields: str) -> httpx.Response:
    page = "/communities/a/transfer"
    form = {"csrf_token": await visitor.token(page), "kind": kind, "table": "", **fields}
    return await visitor.client.post(page, data=form, files={"file": ("people.csv", data, "text/csv")})


async def test_a_letter_that_was_lost_before_is_refused_on_the_page_too(server: Server, owner: Any) -> None:
    lost = "email;name\nana@a.example;Ana\nbego@a.example;Bego�a\n"
    async with visiting(server.web, ADMIN) as admin:
        for tried in (
            await upload(admin, lost.encode()),
            await admin.send("/communities/a/transfer", of="/communities/a/transfer", kind="residents", table=lost),
        ):
            assert "1 mistake: nothing was changed" in tried.text
            assert re.search(r'data-label="Line">3</td>', tried.text)
            assert "a letter was lost" in tried.text


@pytest.mark.parametrize(
    ("data", "encoding"),
    [
        (BEGONA.encode(), "utf-8"),
        (b"\xef\xbb\xbf" + BEGONA.encode(), "utf-8"),
        (b"\xff\xfe" + BEGONA.encode("utf-16-le"), "utf-16"),
        (b"\xfe\xff" + BEGONA.encode("utf-16-be"), "utf-16"),
        (BEGONA.encode("cp1252"), "windows-1252"),
        (BEGONA.replace(";", ",").encode(), "utf-8"),
        (BEGONA.replace(";", "\t").encode("utf-16"), "utf-16"),
        (b"sep=;\r\n" + BEGONA.encode("cp1252"), "windows-1252"),
        (b'"sep=|"\n' + BEGONA.replace(";", "|").encode(), "utf-8"),
        (BEGONA.replace("Correo electrónico", "E-MAIL").replace("Vivienda", "unit").encode(), "utf-8"),
        (BEGONA.replace("Correo electrónico", "CORREO ELECTRONICO").encode(), "utf-8"),
        # Excel writes as many separators as its widest line has.
        (BEGONA.replace("\r\n", ";;\r\n").encode(), "utf-8"),
        (workbook(*(line.split(";") for line in BEGONA.splitlines())), "xlsx"),
    ],
    ids=range(13),
)
def test_every_way_of_writing_a_table_is_read(data: bytes, encoding: str) -> None:
    table = read("residents", data)
    assert (table.encoding, table.mistakes) == (encoding, [])
    assert [(row["email"], row["name"], row["unit"]) for row in table.rows] == [
        ("bego@a.example", "Begoña", "1A"),
        ("jose@a.example", "José Núñez", "2B"),
    ]


def test_the_sample_shows_each_letter_once() -> None:
    table = read(
        "residents",
        ("email;name\n" + "".join(f"{n}@a.example;Peña\n" for n in range(90)) + "z@a.es;Luïs").encode("cp1252"),
    )
    assert table.sample == ["Peña", "Luïs"]


# Workbooks


def test_cells_of_a_workbook_are_what_the_sheet_shows() -> None:
    data = workbook(
        ["Matrícula", "Correo electrónico", "Válida desde", "Descripción"],
        [1234, "ana@a.example", datetime(2026, 11, 29, 10), 12.0],
        [],
        ["1111 BBB", None, datetime(2026, 7, 1), True],
    )
    table = read("plates", data)
    assert table.mistakes == []
    assert [
        (row.line, row["plate"], row["email"], row["valid_from"].isoformat(), row["label"]) for row in table.rows
    ] == [
        (2, "1234", "ana@a.example", "2026-11-29T10:00:00+01:00", "12"),
        (4, "1111BBB", None, "2026-07-01T00:00:00+02:00", "yes"),
    ]


@pytest.mark.parametrize(
    ("lines", "line", "what"),
    [
        # Excel makes the first of February of a unit "1-2".
        ([["name"], [datetime(2026, 2, 1)]], 2, "made a date"),
        ([["name", "lots"], ["1A", 1], ["2B", "=A1+1"]], 3, "formula without a result"),
        ([["name"], ["Bego�a"]], 2, "a letter was lost"),
        ([["name"], ["1A", "more"]], 2, "2 cells where the header has 1"),
        ([["name", "name"], ["1A"]], 1, "twice"),
        ([[]], 1, "no header"),
        ([["name"], *([str(n)] for n in range(101))], 102, "more than 100 rows"),
    ],
    ids=range(7),
)
def test_mistakes_in_a_workbook_are_named(lines: list[list[Any]], line: int, what: str) -> None:
    (mistake,) = read("units", workbook(*lines)).mistakes
    assert mistake.line == line
    assert what in mistake.what


def packed(**parts: bytes) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in parts.items():
            archive.writestr(name, content)
    return out.getvalue()


def altered(name: str, change: Callable[[bytes], bytes]) -> bytes:
    """Return a good workbook with one part changed."""
    with zipfile.ZipFile(io.BytesIO(workbook(["name"], ["1A"]))) as archive:
        return packed(
            **{part: archive.read(part) if part != name else change(archive.read(part)) for part in archive.namelist()}
        )


def as_excel_writes(*texts: str, tail: bytes = b"") -> bytes:
    """Return a workbook of one column whose texts are kept once for the whole book, behind a table of ``tail``."""
    main = "http://schemas.openxmlformats.org/spreadsheetml/2006/main"
    cells = "".join(f'<row r="{n}"><c r="A{n}" t="s"><v>{n - 1}</v></c></row>' for n in range(1, len(texts) + 1))
    shared = "".join(f"<si><t>{text}</t></si>" for text in texts).encode()
    with zipfile.ZipFile(io.BytesIO(workbook(["x"]))) as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    parts[SHEET] = f'<worksheet xmlns="{main}"><sheetData>{cells}</sheetData></worksheet>'.encode()
    parts["xl/sharedStrings.xml"] = f'<sst xmlns="{main}">'.encode() + shared + tail + b"</sst>"
    kind = b"application/vnd.openxmlformats-officedocument.spreadsheetml.sharedStrings+xml"
    listed = b'<Override PartName="/xl/sharedStrings.xml" ContentType="' + kind + b'"/></Types>'
    parts["[Content_Types].xml"] = parts["[Content_Types].xml"].replace(b"</Types>", listed)
    return packed(**parts)


SHEET = "xl/worksheets/sheet1.xml"
HOSTILE = {
    "bomb": (altered(SHEET, lambda part: part + b" " * (table_workbook.MAX_UNPACKED + 1)), "unpacks to too much"),
    "many parts": (
        packed(**{"[Content_Types].xml": b"", **{f"{n}": b"" for n in range(table_workbook.MAX_PARTS)}}),
        "unpacks to too much",
    ),
    "entities": (
        altered(SHEET, lambda part: b'<!DOCTYPE x [<!ENTITY a "1">]>' + part.replace(b"1A", b"&a;")),
        "damaged",
    ),
    "no XML": (altered(SHEET, lambda part: part[: len(part) // 2]), "damaged"),
    "far row": (altered(SHEET, lambda part: part.replace(b'r="2"', b'r="99999999999"')), "more than 50000 lines"),
    "many elements": (altered(SHEET, lambda part: part + b"<x/>" * (table_workbook.MAX_TAGS)), "too much"),
    "no workbook": (packed(**{"a.txt": b"name"}), "not a workbook"),
    "cut": (workbook(["name"], ["1A"])[:-300], "damaged"),
    "old format": (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(600), "old format"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_workbook_that_does_harm_is_refused(name: str) -> None:
    data, what = HOSTILE[name]
    assert len(data) < csv_import.MAX_BYTES
    tracemalloc.start()
    table = read("units", data)
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert table.rows == []
    assert most < 40 * 1024 * 1024
    assert what in table.mistakes[0].what


def test_a_workbook_of_wide_rows_stays_small() -> None:
    wide = altered(SHEET, lambda part: part.replace(b'"A2"', b'"XFD2"'))
    assert read("units", wide).rows == []


@given(st.binary(max_size=60), st.integers(0, 4000))
def test_whatever_a_workbook_holds_it_is_read_or_refused(noise: bytes, place: int) -> None:
    whole = GOOD[:place] + noise + GOOD[place + len(noise) :]
    table = read("units", whole)
    assert all(mistake.line >= 1 for mistake in table.mistakes)


GOOD = workbook(["name", "lots"], ["1A", 2])


async def test_a_workbook_is_taken_over(people: People, owner: Any) -> None:
    admin = await people(ADMIN)
    data = workbook(["Nombre", "Coches a la vez"], ["Bajo A", 2], ["Ático", None])
    assert (await send(admin, "units", data, media_type=XLSX)).json()["created"] == 2
    assert (await send(admin, "units", data)).json()["unchanged"] == 2
    found = await rows(owner, "a", "SELECT name, lots FROM unit WHERE community_id = $1 AND name ~ '[oÁ]'")
    assert sorted(tuple(row.values()) for row in found) == [("Bajo A", 2), ("Ático", None)]


async def test_a_file_is_bounded_on_the_page(server: Server) -> None:
    async with visiting(server.web, ADMIN) as admin:
        big = await upload(admin, b"name\n" + b"x" * csv_import.MAX_BYTES, kind="units")
        assert "larger than 2 MiB" in alerts(big)
        none = await upload(admin, b"", kind="units")
        assert "Choose a file" in alerts(none)
        broken = await admin.client.post(
            "/communities/a/transfer",
            content=b"--x\r\nnonsense",
            headers={"Content-Type": "multipart/form-data; boundary=x"},
        )
        assert broken.status_code in (400, 403)
        forged = await admin.client.post(
            "/communities/a/transfer", data={"csrf_token": "forged"}, files={"file": ("a", b"name", CSV)}
        )
        assert forged.status_code == 403


def test_texts_that_a_workbook_keeps_once_are_read() -> None:
    table = read("units", as_excel_writes("Nombre", "Ático", "Bajo"))
    assert [row["name"] for row in table.rows] == ["Ático", "Bajo"]


# Missing units


async def test_units_that_are_missing_are_made_only_where_asked(people: People, owner: Any) -> None:
    admin = await people(ADMIN)
    data = b"email;name;unit\neva@a.example;Eva;9Z\nleo@a.example;Leo;9Z\nzoe@a.example;Zoe;1A\n"
    tried = (await send(admin, "residents", data, dry_run=True)).json()
    assert [(item["line"], item["column"]) for item in tried["mistakes"]] == [(2, "unit"), (3, "unit")]
    assert "let this import make them" in tried["mistakes"][0]["what"]
    assert tried["missing_units"] == ["9Z"]
    assert (await send(admin, "residents", data)).status_code == 422
    tried = (await send(admin, "residents", data, dry_run=True, make_units=True)).json()
    assert (tried["mistakes"], tried["missing_units"], tried["created"]) == ([], ["9Z"], 3)
    assert await rows(owner, "a", "SELECT FROM unit WHERE community_id = $1 AND name = '9Z'") == []
    assert (await send(admin, "residents", data, make_units=True)).json()["created"] == 3
    made = await rows(owner, "a", "SELECT lots, plate_limit FROM unit WHERE community_id = $1 AND name = '9Z'")
    assert made == [{"lots": None, "plate_limit": csv_import.PLATE_LIMIT}]
    (act,) = await rows(owner, "a", "SELECT detail FROM audit_entry WHERE community_id = $1 AND action ~ 'import'")
    assert '"units_made": 1' in act["detail"]


async def test_the_page_offers_to_make_missing_units(server: Server, owner: Any) -> None:
    data = b"email;name;unit\neva@a.example;Eva;9Z\n"
    page = "/communities/a/transfer"
    async with visiting(server.web, ADMIN) as admin:
        refused = await upload(admin, data)
        assert "The community lacks these units" in refused.text
        tried = await upload(admin, data, make_units="on")
        assert "Units that are made" in tried.text
        hidden = dict(re.findall(r'<input type="hidden" name="(\w+)" value="([^"]*)"', tried.text))
        fields = {name: hidden[name] for name in ("kind", "act", "data", "encoding", "make_units")}
        done = await admin.send(page, of=page, **fields)
        assert done.status_code == 303
    assert len(await rows(owner, "a", "SELECT FROM unit WHERE community_id = $1 AND name = '9Z'")) == 1


# Out and in again


async def export(client: httpx.AsyncClient, kind: str, base: str = A, **query: Any) -> bytes:
    answer = await client.get(f"{base}/exports/{kind}", params=query)
    assert answer.status_code == 200, answer.text
    return bytes(answer.content)


def table_of(data: bytes) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(data.decode("utf-8-sig")), delimiter=";"))


EXPORTED: list[tuple[str, str]] = [
    ("units", "units"), ("people", "residents"), ("credentials", "plates"), ("spaces", "spaces"),
    ("places", "places"),
]  # fmt: skip


@pytest.mark.parametrize("language", ["en", "es"])
async def test_what_was_exported_can_be_imported_again(people: People, owner: Any, language: str) -> None:
    admin, other = await people(ADMIN), await people("administrator@b.example")
    units = "name;lots\n'=1+1;2\n'-;0\n''+2;\nÁtico;1\n".encode()
    assert (await send(admin, "units", units)).json()["created"] == 4
    residents = 'email;name;unit\neva@a.example;"Eva; ""María""";Ático\nleo@a.example;@Leo;\n'.encode()
    assert (await send(admin, "residents", residents)).json()["created"] == 2
    await send(admin, "spaces", b"name;level;category;ev;accessible\na-90;P2;shared;yes;no\na-91;;visitor;no;yes\n")
    placed = b"space;x;y;w;h;rotation\na-02;0,5;1.25;2,5;5;\na-03;3;1;2.5;5;12.5\n"
    assert (await send(admin, "places", placed)).json()["updated"] == 2
    # More decimals than a table has, by the API.
    fine = {"x": 10.12345, "y": 0, "w": 2.5, "h": 5, "rotation": 0}
    answer = await admin.patch(f"{A}/spaces/a-04", json={"geometry": fine}, headers={"If-Match": "*"})
    assert answer.status_code == 200, answer.text
    found = {row["email"]: int(row["id"]) for row in table_of(await export(admin, "people"))}
    begin = datetime.now(UTC).replace(microsecond=123456) - timedelta(days=1)
    plate = {
        "plate": "9999ZZZ",
        "label": "=Van",
        "resident_id": found["eva@a.example"],
        "valid_from": begin.isoformat(),
    }
    assert (await admin.post(f"{A}/vehicles", json=plate)).status_code == 201
    # Whoever may not enter any more must not be let in again by a file.
    left = await admin.get(f"{A}/residents/{found['luis@a.example']}")
    body = {"active": False}
    changed = await admin.patch(
        f"{A}/residents/{found['luis@a.example']}", json=body, headers={"If-Match": left.headers["etag"]}
    )
    assert changed.status_code == 200, changed.text
    for kind, back in EXPORTED:
        data = await export(admin, kind, language=language)
        report = (await send(admin, back, data)).json()
        assert (report["created"], report["updated"]) == (0, 0), (kind, report)
        assert report["unchanged"] > 0
        moved = await send(other, back, data, base=B, make_units=True)
        assert moved.status_code == 200, moved.text
    (kept,) = await rows(owner, "a", "SELECT valid_from FROM credential WHERE community_id = $1 AND plate = '9999ZZZ'")
    assert kept["valid_from"] == begin
    names = await rows(owner, "b", "SELECT name FROM unit WHERE community_id = $1")
    assert {"=1+1", "-", "'+2", "Ático"} <= {row["name"] for row in names}
    residents_b = {row["email"]: row["name"] for row in await rows(owner, "b", NAMES)}
    assert (residents_b["eva@a.example"], residents_b["leo@a.example"]) == ('Eva; "María"', "@Leo")
    assert "luis@a.example" not in residents_b
    plates_b = await rows(owner, "b", "SELECT plate, label, valid_from FROM credential WHERE community_id = $1")
    moved_plate = next(row for row in plates_b if row["plate"] == "9999ZZZ")
    assert (moved_plate["label"], moved_plate["valid_from"]) == ("=Van", begin.replace(microsecond=0))
    assert "5678AXX" not in {row["plate"] for row in plates_b}


@st.composite
def texts(draw: st.DrawFn, most: int) -> str:
    """Return a text as the database holds them: a line without space at its ends."""
    chars = st.characters(exclude_categories=["Cs", "Cc"], exclude_characters="\ufffd") | st.sampled_from("=+-@';\",é ")
    return draw(st.text(chars, min_size=1, max_size=most).map(str.strip).filter(bool))


MOMENTS = st.datetimes(datetime(1990, 1, 1), datetime(2199, 1, 1), timezones=st.just(UTC))
LANGUAGES: list[table_headers.Language] = ["en", "es"]


@given(
    st.lists(st.tuples(texts(60), st.none() | st.integers(0, 1000), st.none() | MOMENTS, st.booleans()), max_size=5),
    st.sampled_from(LANGUAGES),
    st.sampled_from(["Europe/Madrid", "America/Caracas", "Pacific/Apia"]),
)
def test_cells_come_back_as_they_were(
    cells: list[tuple[Any, ...]], language: table_headers.Language, zone: str
) -> None:
    columns = [
        csv_tables.Column("name", csv_tables.text(60), required=True),
        csv_tables.Column("lots", csv_tables.number(0, 1000)),
        csv_tables.Column("valid_from", csv_tables.moment),
        csv_tables.Column("ev", csv_tables.yes_or_no),
        csv_tables.Column("category", csv_tables.one_of("assigned", "shared", "visitor")),
    ]
    out = csv_tables.BYTE_ORDER_MARK + csv_tables.line(table_headers.shown(item.name, language) for item in columns)
    for row in cells:
        out += csv_tables.line([*row, csv_tables.Code("visitor")], ZoneInfo(zone), language)
    table = csv_tables.read(columns, out.encode(), 10, MADRID)
    assert table.mistakes == []
    read_again = [tuple(row[item.name] for item in columns) for row in table.rows]
    assert read_again == [(*row[:2], row[2] and row[2].replace(microsecond=0), row[3], "visitor") for row in cells]


def test_every_column_has_its_own_name_in_each_language() -> None:
    for columns in csv_import.COLUMNS.values():
        names = [column.name for column in columns]
        for name in names:
            for language in LANGUAGES:
                assert table_headers.understood(table_headers.shown(name, language).upper(), names) == name


# Filters, times, all lists


async def test_times_are_the_community_s_with_their_offset(people: People) -> None:
    admin = await people(ADMIN)
    for plate, begin in (("1111BBB", "2026-11-29T09:00:00.5Z"), ("2222CCC", "2026-07-01T08:00:00Z")):
        added = await admin.post(f"{A}/vehicles", json={"plate": plate, "valid_from": begin})
        assert added.status_code == 201, added.text
    since = {row["plate"]: row["valid_from"] for row in table_of(await export(admin, "credentials"))}
    assert since["1111BBB"] == "2026-11-29T10:00:00+01:00"
    assert since["2222CCC"] == "2026-07-01T10:00:00+02:00"


async def test_lists_are_exported_as_they_were_filtered(people: People, owner: Any, server: Server) -> None:
    admin = await people(ADMIN)
    await admin.post(f"{A}/residents", json={"email": "eva@a.example", "name": "Eva"})
    async with visiting(server.web, ADMIN) as visitor:

        async def linked(path: str) -> list[dict[str, str]]:
            page = await visitor.get(f"/communities/a/{path}")
            (address,) = re.findall(r'href="(/api/v1/communities/a/exports/[^"]+)" download>', page.text)
            answer = await visitor.get(address.replace("&amp;", "&"))
            assert answer.status_code == 200, answer.text
            return table_of(answer.content)

        assert [row["name"] for row in await linked("people?q=ev")] == ["Eva"]
        assert {row["name"] for row in await linked("people")} == {"Ana", "Eva", "Luis"}
        assert [row["name"] for row in await linked("people/units?q=1")] == ["1A"]
        assert len(await linked("spaces?level=P1&category=assigned")) == 6
        assert await linked("spaces?category=visitor") == []
        assert {row["action"] for row in await linked("audit?kind=resident")} == {"resident.create"}
        assert await linked("passages?plate=??&decision=denied&from=2026-01-01") == []
    details = await rows(
        owner, "a", "SELECT detail FROM audit_entry WHERE community_id = $1 AND action = 'people.export' ORDER BY id"
    )
    assert [row["detail"] for row in details] == ['{"filters": ["search"]}', "{}"]


async def test_a_filter_that_a_list_lacks_is_refused(people: People) -> None:
    admin = await people(ADMIN)
    for kind, query in (("units", {"plate": "1"}), ("audit", {"q": "x"}), ("spaces", {"since": "2026-01-01T00:00Z"})):
        answer = await admin.get(f"{A}/exports/{kind}", params=query)
        assert answer.status_code == 422
        assert "no such filter" in answer.json()["detail"]


async def test_every_list_can_be_exported_by_staff_only(people: People, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(csv_export, "BATCH", 2)
    admin, resident = await people(ADMIN), await people("resident@a.example")
    tomorrow = datetime.now(UTC).replace(minute=0, second=0, microsecond=0) + timedelta(days=1)
    window = {"from": tomorrow.isoformat(), "until": (tomorrow + timedelta(hours=2)).isoformat()}
    for number in range(5):
        made = await resident.post(
            f"{A}/visitor-passes", json={"name": f"=cmd{number}", "plate": f"777{number}KKK", **window}
        )
        assert made.status_code == 201, made.text
    await send(admin, "spaces", b"name;category\na-01;shared\n")
    booked = await resident.post(f"{A}/bookings", json={"space": "a-01", **window})
    assert booked.status_code == 201, booked.text
    passes = table_of(await export(admin, "visitor-passes"))
    assert sorted(row["name"] for row in passes) == [f"'=cmd{number}" for number in range(5)]
    assert datetime.fromisoformat(passes[0]["from"]) == tomorrow
    (booking,) = table_of(await export(admin, "bookings"))
    assert (booking["space"], booking["unit"], booking["status"]) == ("a-01", "1A", "active")
    later = (tomorrow + timedelta(hours=3)).isoformat()
    assert table_of(await export(admin, "bookings", since=later)) == []
    assert table_of(await export(admin, "visitor-passes", until=tomorrow.isoformat())) == []
    (spanish,) = table_of(await export(admin, "bookings", language="es"))
    assert (spanish["plaza"], spanish["estado"]) == ("a-01", "activo")
    trail = table_of(await export(admin, "audit"))
    assert [int(row["seq"]) for row in trail] == sorted((int(row["seq"]) for row in trail), reverse=True)
    assert {"visitor-pass.create", "booking.create", "bookings.export"} <= {row["action"] for row in trail}
    assert {row["who"] for row in trail} == {"Administrator", "Resident"}
    # A visitor's plate is no resident's: it doesn't come back as one.
    report = (await send(admin, "plates", await export(admin, "credentials"))).json()
    assert (report["left_out"], report["created"]) == (5, 0)
    for kind in csv_export.Kind.__args__:  # type: ignore[attr-defined]
        assert (await resident.get(f"{A}/exports/{kind}")).status_code == 403


@given(st.text(max_size=12))
def test_a_plate_keeps_its_spelling(text: str) -> None:
    plate = plates.normalise(text)
    if plate:
        table = read("plates", f"plate\n{csv_tables.line([plate])}".encode())
        assert [row["plate"] for row in table.rows] == [plate]
