"""Tables of people's spreadsheets: in, with every mistake named by its line; lines out. No I/O.

In: text separated by ``;``, ``,`` or tabs (``table_text``), or a workbook (``table_workbook``). Out: a cell that a
spreadsheet would take for a formula gets an apostrophe in front (it shows the text and hides the apostrophe); in takes
it away again.
"""

import csv
import io
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import UTC, datetime
from typing import Any, Literal
from zoneinfo import ZoneInfo

from msgspec import Struct

from parkmesh.server.http.messages import Message
from parkmesh.server.people import table_headers, table_text, table_workbook
from parkmesh.server.people.mistakes import Mistake, Unreadable, Wrong

MAX_CELL = 500
MAX_SAMPLE = 20
# Spreadsheets drop white space in front before they look. An apostrophe in front of such a cell may be one of ours.
_FORMULA = re.compile(r"'*(?:[\t\r]|\s*[=+\-@])")
BYTE_ORDER_MARK = table_text.BYTE_ORDER_MARK

Encoding = Literal["utf-8", "utf-16", "windows-1252", "xlsx"]
Reader = Callable[[str], Any]


class Column(Struct, frozen=True):
    """A column that a table may have. ``read`` turns a cell that isn't empty into its value or raises ``Wrong``; a
    ``required`` one must be there and be filled in every row. One that isn't ``taken`` may be there, because exports
    write it, but nothing is taken over of it."""

    name: str
    read: Reader
    required: bool = False
    taken: bool = True


class Row(Struct, frozen=True):
    """The cells of one row by column; None for those that are empty or whose column isn't there."""

    line: int
    values: dict[str, Any]

    def __getitem__(self, column: str) -> Any:
        return self.values[column]


class Table(Struct, frozen=True):
    """What could be read of a file. ``sample``: of a file that may be in another encoding, cells that show it.
    ``ignored``: columns that are there and not taken. A wrong header is the only mistake."""

    rows: list[Row]
    mistakes: list[Mistake]
    encoding: Encoding = "utf-8"
    sample: list[str] = []
    ignored: list[str] = []


def read(columns: Sequence[Column], data: bytes, max_rows: int, zone: ZoneInfo) -> Table:
    """Return the rows that could be read, and what is wrong with the others. ``zone`` is that of a workbook's times."""
    encoding: Encoding = "utf-8"
    try:
        if table_workbook.is_workbook(data):
            encoding = "xlsx"
            # The header, and one row more than there may be.
            found = table_workbook.lines(data, zone, max_rows + 2)
            return _read(columns, iter(found), max_rows, encoding)
        decoded = table_text.decode(data)
        encoding = decoded.encoding
        return _read(columns, table_text.lines(decoded.text), max_rows, encoding)
    except Unreadable as unreadable:
        return Table([], unreadable.mistakes, encoding)


def _read(
    columns: Sequence[Column], lines: Iterator[tuple[int, list[str]]], max_rows: int, encoding: Encoding
) -> Table:
    line, first = next(lines, (1, []))
    named = _filled(first)
    header = [table_headers.understood(name, [column.name for column in columns]) or name.strip() for name in named]
    mistakes = _wrong_header(columns, header, line)
    if mistakes:
        return Table([], mistakes, encoding)
    rows: list[Row] = []
    sample = _Sample()
    while True:
        try:
            line, cells = next(lines)
        except StopIteration:
            break
        except Unreadable as unreadable:
            mistakes += unreadable.mistakes
            break
        if not any(cell.strip() for cell in cells):
            continue
        if len(rows) == max_rows:
            mistakes.append(Mistake(line, None, Message("more than %(most)s rows", most=max_rows)))
            break
        if encoding == "xlsx":
            # A sheet has no end of a row.
            cells = [*_filled(cells), *[""] * (len(header) - len(_filled(cells)))]
        elif len(cells) > len(header) and not any(cell.strip() for cell in cells[len(header) :]):
            cells = cells[: len(header)]
        row = _row(columns, header, line, cells)
        if isinstance(row, Row):
            rows.append(row)
            sample.look_at(cells)
        else:
            mistakes += row
    ignored = [column.name for column in columns if not column.taken and column.name in header]
    return Table(rows, mistakes, encoding, sample.cells if encoding == "windows-1252" else [], ignored)


class _Sample:
    """Cells by which people see whether a file was read in its own encoding: for each letter the first that has it,
    so that one wrong letter among many right ones shows."""

    def __init__(self) -> None:
        self.cells: list[str] = []
        self._letters: set[str] = set()

    def look_at(self, cells: Iterable[str]) -> None:
        for cell in cells:
            letters = {char for char in cell if not char.isascii()}
            if letters - self._letters and len(self.cells) < MAX_SAMPLE:
                self._letters |= letters
                self.cells.append(cell.strip())


def _filled(cells: list[str]) -> list[str]:
    """Return the cells without the empty ones at the end."""
    most = next((place for place in range(len(cells), 0, -1) if cells[place - 1].strip()), 0)
    return cells[:most]


def _wrong_header(columns: Sequence[Column], header: list[str], line: int) -> list[Mistake]:
    known = [column.name for column in columns]
    listed = ", ".join(column.name for column in columns if column.taken)
    if not any(header):
        return [Mistake(line, None, Message("no header; the columns are %(columns)s", columns=listed))]
    mistakes = [
        Mistake(line, name, Message("no such column; the columns are %(columns)s", columns=listed))
        for name in dict.fromkeys(header)
        if name not in known
    ]
    mistakes += [
        Mistake(line, name, Message("twice"))
        for name in dict.fromkeys(header)
        if name in known and header.count(name) > 1
    ]
    mistakes += [
        Mistake(line, column.name, Message("missing"))
        for column in columns
        if column.required and column.name not in header
    ]
    return mistakes


def _row(columns: Sequence[Column], header: list[str], line: int, cells: list[str]) -> Row | list[Mistake]:
    if len(cells) != len(header):
        what = Message("%(cells)s cells where the header has %(columns)s", cells=len(cells), columns=len(header))
        return [Mistake(line, None, what)]
    given = dict(zip(header, map(_plain, cells), strict=True))
    values: dict[str, Any] = {}
    mistakes = []
    for column in columns:
        cell = given.get(column.name, "")
        values[column.name] = None
        if not cell and column.required:
            mistakes.append(Mistake(line, column.name, Message("empty")))
        elif len(cell) > MAX_CELL:
            mistakes.append(Mistake(line, column.name, _too_long(MAX_CELL)))
        elif cell:
            try:
                values[column.name] = column.read(cell)
            except Wrong as wrong:
                mistakes.append(Mistake(line, column.name, wrong.what))
    return mistakes or Row(line, values)


def _too_long(most: int) -> Message:
    return Message("more than %(most)s characters", most=most)


def text(max_length: int) -> Reader:
    """Return a reader of printable text."""

    def reader(cell: str) -> str:
        if isinstance(cell, table_workbook.Moment):
            raise Wrong(Message("the spreadsheet made a date of it: format the column as text and write it again"))
        if len(cell) > max_length:
            raise Wrong(_too_long(max_length))
        if any(ord(char) < 0x20 or ord(char) == 0x7F for char in cell):
            raise Wrong(Message("a control character"))
        return cell

    return reader


def number(least: int, most: int) -> Reader:
    """Return a reader of whole numbers."""

    def reader(cell: str) -> int:
        if not (cell.isascii() and cell.isdigit() and len(cell) <= 9 and least <= int(cell) <= most):
            raise Wrong(Message("not a whole number from %(least)s to %(most)s", least=least, most=most))
        return int(cell)

    return reader


_DECIMAL = re.compile(r"([0-9]{1,9})(?:[.,]([0-9]{0,20}))?", re.ASCII)
DECIMALS = 3


def decimal(least: float, most: float) -> Reader:
    """Return a reader of numbers with a decimal point or comma, rounded to ``DECIMALS``."""

    def reader(cell: str) -> float:
        found = _DECIMAL.fullmatch(cell)
        number = round(float(f"{found[1]}.{found[2] or 0}"), DECIMALS) if found else None
        if number is None or not least <= number <= most:
            raise Wrong(Message("not a number from %(least)s to %(most)s", least=least, most=most))
        return number

    return reader


def one_of(*words: str) -> Reader:
    """Return a reader of one of some words, in any language that exports write."""
    meant = {table_headers.plain(item): word for word in words for item in table_headers.spellings(word)}

    def reader(cell: str) -> str:
        word = meant.get(table_headers.plain(cell))
        if word is None:
            raise Wrong(Message("not one of %(words)s", words=", ".join(words)))
        return word

    return reader


_YES_OR_NO = {"yes": True, "true": True, "1": True, "si": True, "verdadero": True}
_YES_OR_NO |= {"no": False, "false": False, "0": False, "falso": False}


def yes_or_no(cell: str) -> bool:
    """Read ``yes`` or ``no``, or what spreadsheets make of them."""
    answer = _YES_OR_NO.get(table_headers.plain(cell))
    if answer is None:
        raise Wrong(Message("not yes or no"))
    return answer


def moment(cell: str) -> datetime:
    """Read a time with its offset: ``2026-03-01T08:00:00+01:00``."""
    try:
        read_time = datetime.fromisoformat(cell)
    except ValueError:
        read_time = None
    if read_time is None or read_time.utcoffset() is None:
        raise Wrong(Message("not a time with its offset, such as %(example)s", example="2026-03-01T08:00:00+01:00"))
    return read_time


def same(given: Any, present: Any) -> bool:
    """Tell whether a table gives a value that is there already; of times down to the second, as exports write them."""
    if isinstance(given, datetime) and isinstance(present, datetime):
        return given.replace(microsecond=0) == present.replace(microsecond=0)
    return bool(given == present)


class Code(str):
    """A cell with a code of the API, which a table says in the reader's language."""

    __slots__ = ()


def line(
    cells: Iterable[object], zone: ZoneInfo | None = None, language: table_headers.Language = table_headers.DEFAULT
) -> str:
    """Return one line of a table with what spreadsheets must not calculate made harmless; times in a zone."""
    out = io.StringIO()
    writer = csv.writer(out, delimiter=";", lineterminator="\r\n")
    writer.writerow([_written(cell, zone, language) for cell in cells])
    return out.getvalue()


def _written(cell: object, zone: ZoneInfo | None, language: table_headers.Language) -> str:
    if cell is None:
        return ""
    if isinstance(cell, bool):
        return table_headers.word("yes" if cell else "no", language)
    if isinstance(cell, Code):
        return table_headers.word(cell, language)
    if isinstance(cell, datetime):
        return local(cell, zone).isoformat()
    shown = str(cell)
    if isinstance(cell, float) and language == "es":
        # A Spanish spreadsheet takes 2.5 for a day of May.
        shown = shown.replace(".", ",")
    return f"'{shown}" if _FORMULA.match(shown) else shown


def local(moment: datetime, zone: ZoneInfo | None) -> datetime:
    """Return a moment in a zone, down to the second; one at the ends of time stays in its own."""
    try:
        return moment.replace(microsecond=0).astimezone(zone or UTC)
    except OverflowError:
        return moment.replace(microsecond=0)


def _plain(cell: str) -> str:
    if isinstance(cell, table_workbook.Moment):
        return cell
    cell = cell.strip()
    return cell[1:] if cell.startswith("'") and _FORMULA.match(cell[1:]) else cell
