"""CSV as people's spreadsheets write and read it: tables in, with every mistake named by its line; lines out.

No I/O. In: UTF-8 with or without a byte order mark, separated by ``;`` or ``,``. Out: a cell that a spreadsheet would
take for a formula gets an apostrophe in front (it shows the text and hides the apostrophe); in takes it away again.
"""

import csv
import io
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from msgspec import Struct

from parkmesh.server.http.messages import Message

MAX_CELL = 500
_BROKEN = Message("a quotation mark without its end, or with text behind it; the rest was not read")
_FORMULA = ("=", "+", "-", "@", "\t", "\r")
_SEPARATORS = (";", ",")
BYTE_ORDER_MARK = "\ufeff"

Reader = Callable[[str], Any]


class Wrong(ValueError):
    """A cell that can't be read, and why."""

    def __init__(self, what: Message) -> None:
        super().__init__(what)
        self.what = what


@dataclass(frozen=True, slots=True)
class Mistake:
    """A mistake in a table: ``line`` counts from 1, the header included; ``column`` is null for a whole line."""

    line: int
    column: str | None
    what: str


class Column(Struct, frozen=True):
    """A column that a table may have. ``read`` turns a cell that isn't empty into its value or raises ``Wrong``; a
    ``required`` one must be there and be filled in every row."""

    name: str
    read: Reader
    required: bool = False


class Row(Struct, frozen=True):
    """The cells of one row by column; None for those that are empty or whose column isn't there."""

    line: int
    values: dict[str, Any]

    def __getitem__(self, column: str) -> Any:
        return self.values[column]


def read(columns: Sequence[Column], data: bytes, max_rows: int) -> tuple[list[Row], list[Mistake]]:
    """Return the rows that could be read, and what is wrong with the others. A wrong header is the only mistake."""
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        return [], [Mistake(line, None, Message("not UTF-8 text: save the table as 'CSV UTF-8'"))]
    if "\x00" in text:
        return [], [Mistake(text.count("\n", 0, text.index("\x00")) + 1, None, Message("a zero character"))]
    lines = csv.reader(io.StringIO(text, newline=""), delimiter=_separator(text), strict=True)
    try:
        header = [name.strip().lower() for name in next(lines, [])]
    except csv.Error:
        return [], [Mistake(1, None, _BROKEN)]
    mistakes = _wrong_header(columns, header)
    if mistakes:
        return [], mistakes
    rows: list[Row] = []
    began = lines.line_num + 1
    while True:
        try:
            cells = next(lines)
        except StopIteration:
            break
        except csv.Error:
            mistakes.append(Mistake(began, None, _BROKEN))
            break
        if any(cell.strip() for cell in cells):
            if len(rows) == max_rows:
                mistakes.append(Mistake(began, None, Message("more than %(most)s rows", most=max_rows)))
                break
            row = _row(columns, header, began, cells)
            if isinstance(row, Row):
                rows.append(row)
            else:
                mistakes += row
        began = lines.line_num + 1
    return rows, mistakes


def _separator(text: str) -> str:
    first = text.partition("\n")[0]
    return max(_SEPARATORS, key=first.count)


def _wrong_header(columns: Sequence[Column], header: list[str]) -> list[Mistake]:
    known = [column.name for column in columns]
    listed = ", ".join(known)
    if not any(header):
        return [Mistake(1, None, Message("no header; the columns are %(columns)s", columns=listed))]
    mistakes = [
        Mistake(1, name, Message("no such column; the columns are %(columns)s", columns=listed))
        for name in dict.fromkeys(header)
        if name not in known
    ]
    mistakes += [
        Mistake(1, name, Message("twice")) for name in dict.fromkeys(header) if name in known and header.count(name) > 1
    ]
    mistakes += [
        Mistake(1, column.name, Message("missing"))
        for column in columns
        if column.required and column.name not in header
    ]
    return mistakes


def _row(columns: Sequence[Column], header: list[str], line: int, cells: list[str]) -> Row | list[Mistake]:
    if len(cells) != len(header):
        what = Message("%(cells)s cells where the header has %(columns)s", cells=len(cells), columns=len(header))
        return [Mistake(line, None, what)]
    given = {name: _plain(cell.strip()) for name, cell in zip(header, cells, strict=True)}
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


def one_of(*words: str) -> Reader:
    """Return a reader of one of some words."""

    def reader(cell: str) -> str:
        if cell.lower() not in words:
            raise Wrong(Message("not one of %(words)s", words=", ".join(words)))
        return cell.lower()

    return reader


def yes_or_no(cell: str) -> bool:
    """Read ``yes`` or ``no``, or what spreadsheets make of them."""
    words = {"yes": True, "true": True, "1": True, "no": False, "false": False, "0": False}
    if cell.lower() not in words:
        raise Wrong(Message("not yes or no"))
    return words[cell.lower()]


def moment(cell: str) -> datetime:
    """Read a time with its offset: ``2026-03-01T08:00:00+01:00``."""
    try:
        read_time = datetime.fromisoformat(cell)
    except ValueError:
        read_time = None
    if read_time is None or read_time.utcoffset() is None:
        raise Wrong(Message("not a time with its offset, such as %(example)s", example="2026-03-01T08:00:00+01:00"))
    return read_time


def line(cells: Iterable[object]) -> str:
    """Return one line of a table with what spreadsheets must not calculate made harmless."""
    out = io.StringIO()
    csv.writer(out, delimiter=";", lineterminator="\r\n").writerow([_written(cell) for cell in cells])
    return out.getvalue()


def _written(cell: object) -> str:
    if cell is None:
        return ""
    if isinstance(cell, bool):
        return "yes" if cell else "no"
    if isinstance(cell, datetime):
        return cell.isoformat()
    shown = str(cell)
    # Spreadsheets drop white space in front before they look.
    return f"'{shown}" if shown.startswith(_FORMULA) or shown.lstrip().startswith(_FORMULA) else shown


def _plain(cell: str) -> str:
    return cell[1:] if cell.startswith("'") and cell[1:].lstrip().startswith(_FORMULA) else cell
