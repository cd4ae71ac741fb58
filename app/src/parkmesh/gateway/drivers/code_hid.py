"""Scanners and keypads at USB that type like a keyboard: the kernel's events of their keys, read as codes. Pure.

A code ends with Enter. Keys are those of the US layout, of which codes need the letters and digits alone: they mean the
same in capitals. What was typed more than ``PAUSE_S`` before the next key was given up.

Source: Linux, include/uapi/linux/input.h (``struct input_event``) and input-event-codes.h. The library that reads them
has to be compiled on each gateway.
"""

import struct

PAUSE_S = 10.0
EVENT = struct.Struct("@llHHi")
"""Seconds, microseconds, type, code and value."""
KEY = 1
"""The type of a key's events. Their values are 0 for released, 1 for pressed, and 2 while it is held down."""
_MOST = 500
_ENTER, _BACK, _ESCAPE, _SHIFT = (28, 96), 14, 1, (42, 54)

_ROWS = {2: "1234567890", 16: "QWERTYUIOP", 30: "ASDFGHJKL", 44: "ZXCVBNM", 71: "789-456+1230"}
CHARACTERS = {first + place: key for first, row in _ROWS.items() for place, key in enumerate(row)} | {55: "*"}
"""What a key types, by its code: rows by the code of their first key, the last one is the number pad."""


class Keys:
    """One device's keys. An event carries its time, so that no clock is needed."""

    def __init__(self) -> None:
        self._rest = b""
        self._typed = ""
        self._last = 0.0
        self._shifted = False

    def feed(self, chunk: bytes) -> list[str]:
        """Take the device's next bytes; return the codes that were ended by Enter."""
        events = self._rest + chunk
        whole = len(events) - len(events) % EVENT.size
        self._rest = events[whole:]
        found = []
        for second, micro, kind, code, value in EVENT.iter_unpack(events[:whole]):
            if kind != KEY:
                continue
            if code in _SHIFT:
                self._shifted = value != 0
            elif value == 1 and (typed := self._press(code, second + micro / 1_000_000)):
                found.append(typed)
        return found

    def _press(self, code: int, at: float) -> str:
        """Take one key; return the code that it ended, if it did."""
        if at - self._last > PAUSE_S or code == _ESCAPE:
            self._typed = ""
        self._last = at
        if code in _ENTER:
            typed, self._typed = self._typed, ""
            return typed
        character = CHARACTERS.get(code, "")
        if code == _BACK:
            self._typed = self._typed[:-1]
        elif len(self._typed) < _MOST and not (self._shifted and not character.isalpha()):  # Shift and 3 is #
            self._typed += character
        return ""
