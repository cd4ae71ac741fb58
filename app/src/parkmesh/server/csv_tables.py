"""CSV as people's spreadsheets write and read it: tables in, with every mistake named by its line; lines out.

No I/O. In: UTF-8 with or without a byte order mark, separated by ``;`` or ``,``. Out: a cell that a spreadsheet would
take for a formula gets an apostrophe in front (it shows the text and hides the apostrophe); in takes it away again.
"""

import csv
import io
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from typing import Any

from msgspec import Struct

MAX_CELL = 500
_FORMULA = ("=", "+", "-", "@", "\t", "\r")
_SEPARATORS = (";", ",")
BYTE_ORDER_MARK = "\ufeff"

Reader = Callable[[str], Any]


class Mistake(Struct, frozen=True):
    """What is wrong, and where: ``line`` counts from 1 with the header's, ``column`` is None for a whole line."""

    line: int
    column: str | None
    what: str


class Column(Struct, frozen=True):
    """A column that a table may have. ``read`` turns a cell that isn't empty into its value or raises ``ValueError``
    with what is wrong; a ``required`` one must be there and be filled in every row."""

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
        return [], [Mistake(line, None, "not UTF-8 text: save the table as 'CSV UTF-8'")]
    if "\x00" in text:
        return [], [Mistake(text.count("\n", 0, text.index("\x00")) + 1, None, "a zero character")]
    lines = csv.reader(io.StringIO(text, newline=""), delimiter=_separator(text), strict=True)
    try:
        header = [name.strip().lower() for name in next(lines, [])]
    except csv.Error as error:
        return [], [Mistake(1, None, str(error))]
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
        except csv.Error as error:
            mistakes.append(Mistake(began, None, f"{error}; what follows was not read"))
            break
        if any(cell.strip() for cell in cells):
            if len(rows) == max_rows:
                mistakes.append(Mistake(began, None, f"more than {max_rows} rows"))
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
    if not any(header):
        return [Mistake(1, None, f"no header; the columns are {', '.join(known)}")]
    mistakes = [
        Mistake(1, name, f"no such column; the columns are {', '.join(known)}")
        for name in dict.fromkeys(header)
        if name not in known
    ]
    mistakes += [
        Mistake(1, name, "twice") for name in dict.fromkeys(header) if name in known and header.count(name) > 1
    ]
    mistakes += [
        Mistake(1, column.name, "missing") for column in columns if column.required and column.name not in header
    ]
    return mistakes


def _row(columns: Sequence[Column], header: list[str], line: int, cells: list[str]) -> Row | list[Mistake]:
    if len(cells) != len(header):
        return [Mistake(line, None, f"{len(cells)} cells where the header has {len(header)}")]
    given = {name: _plain(cell.strip()) for name, cell in zip(header, cells, strict=True)}
    values: dict[str, Any] = {}
    mistakes = []
    for column in columns:
        cell = given.get(column.name, "")
        values[column.name] = None
        if not cell and column.required:
            mistakes.append(Mistake(line, column.name, "empty"))
        elif len(cell) > MAX_CELL:
            mistakes.append(Mistake(line, column.name, f"more than {MAX_CELL} characters"))
        elif cell:
            try:
                values[column.name] = column.read(cell)
            except ValueError as error:
                mistakes.append(Mistake(line, column.name, str(error)))
    return mistakes or Row(line, values)


def text(max_length: int) -> Reader:
    """Return a reader of printable text."""

    def reader(cell: str) -> str:
        if len(cell) > max_length:
            raise ValueError(f"more than {max_length} characters")
        if any(ord(char) < 0x20 or ord(char) == 0x7F for char in cell):
            raise ValueError("a control character")
        return cell

    return reader


def number(least: int, most: int) -> Reader:
    """Return a reader of whole numbers."""

    def reader(cell: str) -> int:
        if not (cell.isascii() and cell.isdigit() and len(cell) <= 9 and least <= int(cell) <= most):
            raise ValueError(f"not a whole number from {least} to {most}")
        return int(cell)

    return reader


def one_of(*words: str) -> Reader:
    """Return a reader of one of some words."""

    def reader(cell: str) -> str:
        if cell.lower() not in words:
            raise ValueError(f"not one of {', '.join(words)}")
        return cell.lower()

    return reader


def yes_or_no(cell: str) -> bool:
    """Read ``yes`` or ``no``, or what spreadsheets make of them."""
    words = {"yes": True, "true": True, "1": True, "no": False, "false": False, "0": False}
    if cell.lower() not in words:
        raise ValueError("not yes or no")
    return words[cell.lower()]


def moment(cell: str) -> datetime:
    """Read a time with its offset: ``2026-03-01T08:00:00+01:00``."""
    try:
        read_time = datetime.fromisoformat(cell)
    except ValueError:
        read_time = None
    if read_time is None or read_time.utcoffset() is None:
        raise ValueError("not a time with its offset, such as 2026-03-01T08:00:00+01:00")
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
