"""What a kill -9 leaves of a spool, at every SQL statement: copies of its files taken just before each one runs."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Generic, NamedTuple, TypeVar

from parkmesh.gateway.spool import Spool

T = TypeVar("T")


class CrashPoint(NamedTuple, Generic[T]):
    """``spool`` is the path of the copy, ``world`` what the test noted of everything outside at that moment."""

    statement: str
    spool: Path
    world: T


class CrashPoints(Generic[T]):
    """Watch a spool from now on; ``world`` is called at each statement."""

    def __init__(self, spool: Spool, into: Path, world: Callable[[], T]) -> None:
        self._spool, self._into, self._world = spool, into, world
        self.points: list[CrashPoint[T]] = []
        spool._db.set_trace_callback(self._copy)

    def _copy(self, statement: str) -> None:
        folder = self._into / f"{len(self.points):04d}"
        folder.mkdir(parents=True)
        for suffix in ("", "-wal"):
            source = self._spool.path.with_name(self._spool.path.name + suffix)
            if source.exists():
                shutil.copy(source, folder / source.name)
        self.points.append(CrashPoint(statement, folder / self._spool.path.name, self._world()))

    def last(self) -> None:
        """Note the end as a crash point too, and stop watching."""
        self._spool._db.set_trace_callback(None)
        self._copy("the end")
