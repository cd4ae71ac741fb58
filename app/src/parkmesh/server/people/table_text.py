"""Text files as spreadsheets write them: bytes into rows of cells with their line numbers. No I/O.

The encoding is that of the byte order mark, else UTF-8, else Windows-1252, which Excel writes as plain "CSV" in Western
Europe. Almost any bytes are text in Windows-1252, so a person has to look at the names before the import.
"""

import codecs
import csv
import io
import re
from collections.abc import Iterator
from typing import Literal

from msgspec import Struct

from parkmesh.server.http.messages import Message
from parkmesh.server.people.mistakes import Mistake, Unreadable, lost

Encoding = Literal["utf-8", "utf-16", "windows-1252"]

BYTE_ORDER_MARK = "\ufeff"
_BROKEN = Message("a quotation mark that doesn't end or has text behind it; what follows was not read")
_SEPARATORS = (";", ",", "\t")
_LINE_END = re.compile(r"\r\n|\r|\n")
# What Excel writes in front for itself, and reads.
_NAMED_SEPARATOR = re.compile(r'"?sep=([^\w"\s]|\t)"?(?:\r\n|\r|\n|$)', re.IGNORECASE)


class Text(Struct, frozen=True):
    """A file's text without its byte order mark."""

    encoding: Encoding
    text: str


def decode(data: bytes) -> Text:
    """Return a file's text; raise ``Unreadable``, also for text in which letters were lost before."""
    encoding: Encoding
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        encoding, text = "utf-16", _decoded(data, "utf-16")
    elif data.startswith(codecs.BOM_UTF8):
        encoding, text = "utf-8", _decoded(data.removeprefix(codecs.BOM_UTF8), "utf-8")
    else:
        try:
            encoding, text = "utf-8", data.decode("utf-8")
        except UnicodeDecodeError:
            encoding, text = "windows-1252", _decoded(data, "cp1252")
    zeros = [Mistake(line, None, Message("a zero character")) for line in _lines_with("\x00", text)]
    mistakes = zeros or [lost(line) for line in _lines_with("\ufffd", text)]
    if mistakes:
        raise Unreadable(*mistakes)
    return Text(encoding, text)


def _lines_with(sign: str, text: str) -> list[int]:
    return [number for number, line in enumerate(_LINE_END.split(text), 1) if sign in line] if sign in text else []


def _decoded(data: bytes, codec: str) -> str:
    try:
        return data.decode(codec)
    except UnicodeDecodeError as error:
        before = data[: error.start].decode(codec, "ignore")
        what = Message("not text in UTF-8, UTF-16 or Windows-1252: save the table as 'CSV UTF-8'")
        raise Unreadable(Mistake(len(_LINE_END.findall(before)) + 1, None, what)) from None


def lines(text: str) -> Iterator[tuple[int, list[str]]]:
    """Yield the rows with the lines that they begin in; raise ``Unreadable`` where one doesn't end."""
    named = _NAMED_SEPARATOR.match(text)
    above = 0
    if named:
        text, above = text[named.end() :], 1
    return _rows(text, named[1] if named else _separator(text), above)


def _rows(text: str, separator: str, above: int) -> Iterator[tuple[int, list[str]]]:
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=True)
    began = above + 1
    while True:
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error:
            raise Unreadable(Mistake(began, None, _BROKEN)) from None
        yield began, cells
        began = above + reader.line_num + 1


def _separator(text: str) -> str:
    """Return the separator that the header has most of, outside of quotation marks."""
    header = re.sub(r'"[^"]*"', "", _LINE_END.split(text, maxsplit=1)[0])
    return max(_SEPARATORS, key=header.count)
