"""The table of misreads, and how a decision does on it.

``misreads.csv``: a community's list (``!``: revoked), the car at the gate, what the camera wrote and how sure it was,
and whether the gate should open. The classes are those that cameras' makers and operators report; the rows were written
before the matcher. Where one read can come of two cars both rows stand, so not all can be opened and none wrongly.
"""

import csv
from collections import Counter
from pathlib import Path
from typing import get_args

from msgspec import Struct
from parkmesh.domain import access, plates
from parkmesh.domain.access_index import AccessIndex
from parkmesh.domain.community_rules import PlateMatching
from parkmesh.protocol.edge import AccessEntry

NOW = 1_700_000_000_000
LEAST, LEAST_MISREAD = 0.3, 0.5
"""The gateway's defaults of ``min_confidence`` and ``min_confidence_misread``."""


MODES: tuple[PlateMatching, ...] = get_args(PlateMatching)


class Case(Struct, frozen=True):
    """One read at a gate, as the table has it."""

    country: str
    misread: str
    listed: str
    car: str
    read: str
    confidence: float
    opens: bool

    def entries(self) -> list[AccessEntry]:
        return [
            AccessEntry(str(number), plate.lstrip("!"), "revoked" if plate.startswith("!") else "active")
            for number, plate in enumerate(self.listed.split(), 1)
        ]


def cases() -> list[Case]:
    """Return the table."""
    with (Path(__file__).parent / "misreads.csv").open(encoding="utf-8", newline="") as file:
        return [
            Case(
                row["country"], row["misread"], row["list"], row["car"], row["read"], float(row["confidence"]),
                row["verdict"] == "open",
            )
            for row in csv.DictReader(file)
        ]  # fmt: skip


def opened(case: Case, matching: PlateMatching) -> bool:
    """Tell whether the gate of a community with this ``plate_matching`` opens for a case."""
    decision = access.decide(plates.normalise(case.read), AccessIndex(case.entries()), NOW, matching=matching)
    return access.sure_enough(decision, case.confidence, LEAST, LEAST_MISREAD).granted


def figures(matching: PlateMatching) -> Counter[tuple[bool, bool]]:
    """Count the cases by whether the gate should open and whether it does."""
    return Counter((case.opens, opened(case, matching)) for case in cases())
