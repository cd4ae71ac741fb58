"""XLSX workbooks: the first sheet as rows of cells with their line numbers. No I/O.

A workbook is a ZIP archive of XML, so that a small file can be a huge one. Its parts and their tags are counted
before the library sees them (``zipfile`` gives no more of a part than the archive says that it has), lines and columns
while they are read. The library refuses entities where defusedxml is installed, as it is on servers. A formula counts
as the value that the spreadsheet calculated last.
"""

import io
import re
import zipfile
from collections.abc import Iterator
from datetime import date, datetime, time
from typing import Any
from zoneinfo import ZoneInfo

from parkmesh.server.http.messages import Message
from parkmesh.server.people.mistakes import Mistake, Unreadable, lost

MAX_PARTS = 1000
MAX_UNPACKED = 16 * 1024 * 1024
"""Bytes of all parts together; 10,000 rows of five cells have about three million."""
MAX_COLUMNS = 64
MAX_TAGS = 1_000_000
"""Tags of all parts together; 10,000 rows of five cells have about 400,000."""
MAX_LINES = 50_000
"""Lines of a sheet, most of them empty. A file may give a row any number."""
_FORMULA = re.compile(rb"<(?:\w+:)?f[\s/>]")
_ARCHIVE = b"PK\x03\x04"
# Workbooks of Excel before 2007, and encrypted ones.
_COMPOUND = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"


_Cells = tuple[Any, ...]


class Moment(str):
    """A cell that holds a day or time, as ISO 8601 in the community's zone."""

    __slots__ = ()


def is_workbook(data: bytes) -> bool:
    return data.startswith((_ARCHIVE, _COMPOUND))


def lines(data: bytes, zone: ZoneInfo, most: int) -> list[tuple[int, list[str]]]:
    """Return the first ``most`` rows that aren't empty of the first sheet; raise ``Unreadable`` for what is no workbook
    or holds too much."""
    if data.startswith(_COMPOUND):
        raise _refused(Message("protected by a password or in Excel's old format: save it as XLSX"))
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            _check_size(archive)
            formulas = any(_FORMULA.search(archive.read(name)) for name in archive.namelist())
        return list(_read(data, zone, most, formulas))
    except Unreadable:
        raise
    except Exception:  # noqa: BLE001 - the library has no error of its own: a damaged file raises what breaks first
        raise _refused(Message("a damaged workbook: save it again, or its first sheet as 'CSV UTF-8'")) from None


def _refused(what: Message) -> Unreadable:
    return Unreadable(Mistake(1, None, what))


def _check_size(archive: zipfile.ZipFile) -> None:
    parts = archive.infolist()
    if "[Content_Types].xml" not in {part.filename for part in parts}:
        raise _refused(Message("not a workbook: save the table as XLSX or as 'CSV UTF-8'"))
    small = len(parts) <= MAX_PARTS and sum(part.file_size for part in parts) <= MAX_UNPACKED
    if not small or sum(archive.read(part).count(b"<") for part in parts) > MAX_TAGS:
        raise _refused(Message("a workbook that unpacks to too much: save its first sheet as 'CSV UTF-8'"))


def _read(data: bytes, zone: ZoneInfo, most: int, formulas: bool) -> Iterator[tuple[int, list[str]]]:
    mistakes = []
    found = 0
    for line, (cells, sources) in enumerate(_rows(data, formulas), 1):
        if line > MAX_LINES:
            what = Message(
                "more than %(most)s lines: delete the empty ones, or save the sheet as 'CSV UTF-8'", most=MAX_LINES
            )
            raise Unreadable(Mistake(line, None, what))
        # Sheets have long tails of empty rows. The first row is the header, whatever is in it.
        if line > 1 and not any(source.value is not None for source in sources):
            continue
        texts = []
        for cell, source in zip(cells, sources, strict=True):
            if cell.data_type == "e" or (cell.value is None and source.data_type == "f"):
                mistakes.append(Mistake(line, None, Message("a formula without a result, or with an error")))
            texts.append(_text(cell.value, zone))
        if any("\ufffd" in text for text in texts):
            mistakes.append(lost(line))
        yield line, texts
        found += 1
        if found == most:
            break
    if mistakes:
        raise Unreadable(*mistakes)


def _rows(data: bytes, formulas: bool) -> Iterator[tuple[_Cells, _Cells]]:
    """Yield the cells of each line with their values and, where there are formulas, with those instead of the values:
    a formula that was never calculated has no value, and only the formula tells it from an empty cell."""
    calculated = _sheet(data, values=True)
    return zip(calculated, _sheet(data, values=False), strict=True) if formulas else ((row, row) for row in calculated)


def _sheet(data: bytes, *, values: bool) -> Iterator[_Cells]:
    # A server starts without it: importing it takes as long as making forty routes.
    import openpyxl

    book = openpyxl.load_workbook(io.BytesIO(data), read_only=True, data_only=values, keep_links=False)
    sheet = book.worksheets[0]
    # What the sheet says of its own size may be wrong.
    sheet.reset_dimensions()
    rows: Iterator[_Cells] = sheet.iter_rows(max_row=MAX_LINES + 1, max_col=MAX_COLUMNS)
    return rows


def _text(value: object, zone: ZoneInfo) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    if isinstance(value, datetime):
        return Moment(value.replace(microsecond=0, tzinfo=zone).isoformat())
    if isinstance(value, date | time):
        return Moment(value.isoformat())
    return str(value)
