"""JSON as the daemon reads and writes it: keys sorted, no blanks, and its parser's own error messages.

The messages reach clients in the body of a 500 answer, unescaped, which is why that body isn't always valid JSON.
"""

from __future__ import annotations

import json
import re
from typing import Any, NoReturn

_LITERAL_OR_VALUE = "'[', '{', or a literal"
# fmt: off
_CONTROL_NAMES = (
    "NUL", "SOH", "STX", "ETX", "EOT", "ENQ", "ACK", "BEL", "BS", "HT", "LF", "VT", "FF", "CR", "SO", "SI",
    "DLE", "DC1", "DC2", "DC3", "DC4", "NAK", "SYN", "ETB", "CAN", "EM", "SUB", "ESC", "FS", "GS", "RS", "US",
)
# fmt: on
_SHORT_ESCAPES = {8: "\\b", 9: "\\t", 10: "\\n", 12: "\\f", 13: "\\r"}
_END = -1
_DIGITS = frozenset(b"0123456789")
_PUNCTUATION = frozenset(b"[]{}:,")
_ESCAPABLE = frozenset(b'"\\/bfnrt')


class JsonError(ValueError):
    """The body isn't JSON or holds a value the daemon refuses; the message is the daemon's."""


def dump(value: object) -> bytes:
    """The bytes the daemon would send for a value."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode("utf-8", "replace")


def _to_integer(digits: str) -> int | float:
    number = int(digits) if len(digits) < 25 else 1 << 70
    return number if -(1 << 63) <= number < 1 << 64 else float(digits)


def _to_float(digits: str) -> float:
    number = float(digits)
    if number in (float("inf"), float("-inf")):
        raise JsonError(f"[json.exception.out_of_range.406] number overflow parsing '{digits}'")
    return number


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(name)


def load(body: bytes) -> Any:
    """Parse a request's body; raises JsonError with the daemon's message."""
    try:
        text = body.decode("utf-8")
        if re.search(r"\\u[dD][89a-fA-F]", text) is None:
            return json.loads(text, parse_int=_to_integer, parse_float=_to_float, parse_constant=_refuse_constant)
    except JsonError:
        raise
    except RecursionError:
        return None  # deeper than anything an object of the API could use
    except ValueError:
        pass
    _Checker(body).check()
    return json.loads(body.decode("utf-8", "replace"), parse_int=_to_integer, parse_float=_to_float)


class _Checker:
    """Walk over the text as the daemon's parser does, to stop where it stops with what it says there."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._position = 0
        self._line = 0
        self._column = 0
        self._previous_column = 0
        self._current = _END
        self._read: list[int] = []
        self._error = ""

    def check(self) -> None:
        if self._data.startswith(b"\xef\xbb\xbf"):
            self._position = self._column = 3
        open_brackets: list[str] = []
        symbol = self._symbol()
        while True:
            symbol = self._enter_value(symbol, open_brackets)
            while True:  # a value has ended; `symbol` is what follows
                if not open_brackets:
                    if symbol != "end of input":
                        self._fail("value", symbol, "end of input")
                    return
                closing, context = ("'}'", "object") if open_brackets[-1] == "{" else ("']'", "array")
                if symbol == "','":
                    symbol = self._symbol()
                    if context == "object":
                        symbol = self._key(symbol)
                    break
                if symbol != closing:
                    self._fail(context, symbol, closing)
                open_brackets.pop()
                symbol = self._symbol()

    def _enter_value(self, symbol: str, open_brackets: list[str]) -> str:
        """Go down to the first scalar or empty container and return the symbol after it."""
        while True:
            if symbol == "'{'":
                symbol = self._symbol()
                if symbol == "'}'":
                    return self._symbol()
                open_brackets.append("{")
                symbol = self._key(symbol)
            elif symbol == "'['":
                symbol = self._symbol()
                if symbol == "']'":
                    return self._symbol()
                open_brackets.append("[")
            elif symbol.endswith("literal"):
                return self._symbol()
            elif symbol == "<parse error>":
                self._fail("value", symbol, "")
            else:
                self._fail("value", symbol, _LITERAL_OR_VALUE)

    def _key(self, symbol: str) -> str:
        if symbol != "string literal":
            self._fail("object key", symbol, "string literal")
        symbol = self._symbol()
        if symbol != "':'":
            self._fail("object separator", symbol, "':'")
        return self._symbol()

    def _fail(self, context: str, symbol: str, expected: str) -> NoReturn:
        if symbol == "<parse error>":
            last = "".join(f"<U+{c:04X}>" if c < 0x20 else chr(c) for c in self._read)
            last = last.encode("latin-1", "ignore").decode("utf-8", "replace") if last else last
            what = f"{self._error}; last read: '{last}'"
        else:
            what = f"unexpected {symbol}"
        if expected:
            what += f"; expected {expected}"
        raise JsonError(
            f"[json.exception.parse_error.101] parse error at line {self._line + 1}, column {self._column}: "
            f"syntax error while parsing {context} - {what}"
        )

    def _get(self) -> int:
        self._current = self._data[self._position] if self._position < len(self._data) else _END
        self._position += 1
        self._column += 1
        if self._current != _END:
            self._read.append(self._current)
        if self._current == 10:
            self._line += 1
            self._previous_column, self._column = self._column, 0
        return self._current

    def _unget(self) -> None:
        self._position -= 1
        if self._current == 10:
            self._line -= 1
            self._column = self._previous_column
        self._column -= 1
        if self._current != _END:
            self._read.pop()

    def _error_symbol(self, message: str) -> str:
        self._error = message
        return "<parse error>"

    def _symbol(self) -> str:
        while self._get() in (9, 10, 13, 32):
            pass
        current = self._current
        if current == _END or current == 0:
            return "end of input"
        if current in _PUNCTUATION:
            return f"'{chr(current)}'"
        if current == ord('"'):
            return self._string()
        if current == ord("-") or current in _DIGITS:
            return self._number()
        for word in (b"true", b"false", b"null"):
            if current == word[0]:
                for wanted in word[1:]:
                    if self._get() != wanted:
                        return self._error_symbol("invalid literal")
                return f"{word.decode()} literal"
        return self._error_symbol("invalid literal")

    def _digits(self) -> None:
        while self._get() in _DIGITS:
            pass

    def _number(self) -> str:
        self._read = [self._current]
        if self._current == ord("-") and self._get() not in _DIGITS:
            return self._error_symbol("invalid number; expected digit after '-'")
        if self._current == ord("0"):
            self._get()
        else:
            self._digits()
        if self._current == ord("."):
            if self._get() not in _DIGITS:
                return self._error_symbol("invalid number; expected digit after '.'")
            self._digits()
        if self._current in (ord("e"), ord("E")):
            if self._get() in (ord("+"), ord("-")):
                if self._get() not in _DIGITS:
                    return self._error_symbol("invalid number; expected digit after exponent sign")
            elif self._current not in _DIGITS:
                return self._error_symbol("invalid number; expected '+', '-', or digit after exponent")
            self._digits()
        self._unget()
        return "number literal"

    def _hex4(self) -> int:
        value = 0
        for _ in range(4):
            current = self._get()
            if current == _END or chr(current) not in "0123456789abcdefABCDEF":
                return -1
            value = value * 16 + int(chr(current), 16)
        return value

    def _escape(self) -> str:
        """What is wrong with the escape that begins here; empty when it is right."""
        current = self._get()
        if current == ord("u"):
            no_digits = "invalid string: '\\u' must be followed by 4 hex digits"
            lonely = "invalid string: surrogate U+D800..U+DBFF must be followed by U+DC00..U+DFFF"
            first = self._hex4()
            if first < 0:
                return no_digits
            if 0xD800 <= first <= 0xDBFF:
                if self._get() != ord("\\") or self._get() != ord("u"):
                    return lonely
                second = self._hex4()
                if second < 0:
                    return no_digits
                return "" if 0xDC00 <= second <= 0xDFFF else lonely
            if 0xDC00 <= first <= 0xDFFF:
                return "invalid string: surrogate U+DC00..U+DFFF must follow U+D800..U+DBFF"
            return ""
        if current not in _ESCAPABLE:
            return "invalid string: forbidden character after backslash"
        return ""

    def _string(self) -> str:
        self._read = [self._current]
        while True:
            current = self._get()
            if current == _END:
                return self._error_symbol("invalid string: missing closing quote")
            if current == ord('"'):
                return "string literal"
            if current == ord("\\"):
                wrong = self._escape()
                if wrong:
                    return self._error_symbol(wrong)
            elif current < 0x20:
                escapes = f"\\u{current:04X}" + (f" or {_SHORT_ESCAPES[current]}" if current in _SHORT_ESCAPES else "")
                name = _CONTROL_NAMES[current]
                return self._error_symbol(
                    f"invalid string: control character U+{current:04X} ({name}) must be escaped to {escapes}"
                )
            elif current >= 0x80 and not self._utf8_rest(current):
                return self._error_symbol("invalid string: ill-formed UTF-8 byte")

    def _utf8_rest(self, first: int) -> bool:
        length = 1 if 0xC2 <= first <= 0xDF else 2 if 0xE0 <= first <= 0xEF else 3 if 0xF0 <= first <= 0xF4 else 0
        encoded = [first]
        for _ in range(length):
            current = self._get()
            if current == _END or not 0x80 <= current <= 0xBF:
                return False
            encoded.append(current)
        try:
            bytes(encoded).decode("utf-8")
        except ValueError:
            return False
        return length > 0
