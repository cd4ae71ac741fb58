"""A disk and what a crash leaves on it, worked out from the system calls that ``disk_calls.c`` wrote down.

A killed process leaves all that it wrote. A power cut leaves what was flushed; of what was written since, any part may
be there or not, down to sectors of 512 bytes, in any order, and room that a lost write had made holds zeros or what was
there long ago. Names (made, renamed, deleted) are there in their order, up to any point, and for certain once their
folder was flushed. A flush that fails may have lost what it should have written, for ever, as on Linux.
"""

import os
import random
import struct
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, NamedTuple

SOURCE = Path(__file__).with_name("disk_calls.c")
LEDGER = "ledger"
"""The file in the folder that is no part of the disk: what the process told the world outside."""
_CALL = struct.Struct("<BBHIQ")
_SECTOR = 512
_VOLATILE = ("-shm", ".lock", ".reserve")
"""Endings of files whose content a start doesn't use."""

Crash = Literal["kill", "power"]


class Call(NamedTuple):
    what: str
    failed: bool
    name: str
    at: int
    data: bytes


def compiled(folder: Path) -> Path:
    """Return the library that is loaded into a process to write its calls down."""
    library = folder / "disk_calls.so"
    if not library.exists():
        subprocess.run(["cc", "-O2", "-shared", "-fPIC", "-o", str(library), str(SOURCE), "-ldl"], check=True)
    return library


def read(trace: Path) -> list[Call]:
    content, at, calls = trace.read_bytes(), 0, []
    while at < len(content):
        what, failed, name, length, offset = _CALL.unpack_from(content, at)
        start = at + _CALL.size
        at = start + name + length
        calls.append(
            Call(chr(what), bool(failed), content[start : start + name].decode(), offset, content[at - length : at])
        )
    return calls


@dataclass
class _File:
    """``seen`` is what processes read, ``kept`` what was flushed, ``pending`` what was written since."""

    seen: bytearray = field(default_factory=bytearray)
    kept: bytearray = field(default_factory=bytearray)
    pending: list[tuple[int, bytes | None]] = field(default_factory=list)


def _write(content: bytearray, at: int, data: bytes | None) -> None:
    """Write, or with None cut the file (or prolong it) to ``at``."""
    if data is None:
        del content[at:]
    if len(content) < at:
        content.extend(bytes(at - len(content)))
    if data is not None:
        content[at : at + len(data)] = data


class Disk:
    """One folder. ``chance`` decides what a failed flush has lost."""

    def __init__(self, chance: random.Random, files: dict[str, bytes] | None = None) -> None:
        self._chance = chance
        self.names = {name: _File(bytearray(data), bytearray(data)) for name, data in (files or {}).items()}
        self._kept_names = dict(self.names)
        self._renamed: list[dict[str, _File | None]] = []
        self.ledger = bytearray()

    def apply(self, call: Call) -> None:
        if call.name.startswith(LEDGER):
            if call.what == "w":
                self.ledger += call.data
            return
        match call.what:
            case "c":
                self._name({call.name: _File()})
            case "w" | "t":
                data = call.data if call.what == "w" else None
                file = self.names[call.name]
                _write(file.seen, call.at, data)
                file.pending.append((call.at, data))
            case "s":
                self._flush(self.names[call.name], failed=call.failed)
            case "d" if not call.failed:
                self._kept_names, self._renamed = dict(self.names), []
            case "u":
                self._name({call.name: None})
            case "r":
                self._name({call.data.decode(): self.names[call.name], call.name: None})

    def _name(self, changes: dict[str, _File | None]) -> None:
        self._renamed.append(changes)
        _put(self.names, changes)

    def _flush(self, file: _File, *, failed: bool) -> None:
        for at, data in file.pending:
            if not failed or self._chance.random() < 0.5:
                _write(file.kept, at, data)
        file.pending = []

    def after(self, crash: Crash, chance: random.Random) -> dict[str, bytes]:
        """Return the files that a crash leaves now."""
        if crash == "kill":
            return {name: bytes(file.seen) for name, file in self.names.items() if not name.endswith(_VOLATILE)}
        names = dict(self._kept_names)
        for changes in self._renamed[: chance.randint(0, len(self._renamed))]:
            _put(names, changes)
        share = chance.choice((0.0, 0.5, 0.9, 1.0, chance.random()))
        return {
            name: _after_power_cut(file, share, chance) for name, file in names.items() if not name.endswith(_VOLATILE)
        }


def _put(names: dict[str, _File], changes: dict[str, _File | None]) -> None:
    for name, file in changes.items():
        if file is None:
            names.pop(name, None)
        else:
            names[name] = file


def _after_power_cut(file: _File, share: float, chance: random.Random) -> bytes:
    content = bytearray(file.kept)
    for at, data in file.pending:
        if chance.random() < share:
            if data is None or len(data) <= _SECTOR or chance.random() < 0.7:
                _write(content, at, data)
            else:
                for start, part in _sectors(at, data):
                    if chance.random() < 0.5:
                        _write(content, start, part)
        elif data is not None and chance.random() < 0.3 and len(content) < at + len(data):
            # The file has its new length, and not its content.
            old = chance.randbytes(len(data)) if chance.random() < 0.5 else bytes(len(data))
            _write(content, len(content), old[: at + len(data) - len(content)])
    return bytes(content)


def _sectors(at: int, data: bytes) -> Iterator[tuple[int, bytes]]:
    start = 0
    while start < len(data):
        end = min(len(data), (at + start) // _SECTOR * _SECTOR + _SECTOR - at)
        yield at + start, data[start:end]
        start = end


def lay_out(folder: Path, files: dict[str, bytes]) -> None:
    """Put files into an empty folder."""
    folder.mkdir(parents=True)
    for name, data in files.items():
        (folder / name).write_bytes(data)


def environment(library: Path, folder: Path, trace: Path, faults: str) -> dict[str, str]:
    """Return the environment of a process whose calls are written down."""
    return {
        **os.environ,
        "LD_PRELOAD": str(library),
        "DISK_FOLDER": str(folder),
        "DISK_TRACE": str(trace),
        "DISK_FAULTS": faults,
    }
