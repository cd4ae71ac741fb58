"""A community's access list as decisions look things up in it: by plate, by skeleton, by credential and by unit.

A decision by a walk through 20,000 entries takes longer than a barrier may; by these four tables it takes microseconds,
whatever the list's length. ``scan`` is that walk: the plain meaning of the index, which tests compare it with.
"""

from collections.abc import Iterable, Iterator

from parkmesh.domain import plates
from parkmesh.domain.access import Entry, Listed


class AccessIndex:
    """An access list that can be searched. Entries keep their order; credential ids are unique, plates are normalised.

    It doesn't change: a changed list makes a new index, so that a decision sees one list from its start to its end.
    """

    def __init__(self, entries: Iterable[Entry] = ()) -> None:
        self._by_credential: dict[str, Entry] = {}
        self._by_plate: dict[str, list[Entry]] = {}
        self._by_skeleton: dict[str, list[str]] = {}
        self._by_unit: dict[str, list[Entry]] = {}
        for entry in entries:
            self._by_credential[entry.credential_id] = entry
            of_plate = self._by_plate.get(entry.plate)
            if of_plate is None:
                self._by_plate[entry.plate] = [entry]
                self._by_skeleton.setdefault(plates.skeleton(entry.plate), []).append(entry.plate)
            else:
                of_plate.append(entry)
            if entry.unit is not None:
                self._by_unit.setdefault(entry.unit, []).append(entry)

    def __len__(self) -> int:
        return len(self._by_credential)

    def __iter__(self) -> Iterator[Entry]:
        return iter(self._by_credential.values())

    def of_plate(self, plate: str) -> list[Entry]:
        return self._by_plate.get(plate, [])

    def alike(self, plate: str) -> list[list[Entry]]:
        # Equal skeletons mean equal length, and that no other than confused letters differ.
        others = self._by_skeleton.get(plates.skeleton(plate), [])
        return [self._by_plate[other] for other in others if other != plate and plates.fits(plate, other)]

    def near(self, plate: str) -> list[list[Entry]]:
        others = [o for key in plates.skeletons(plate) for o in self._by_skeleton.get(key, ())]
        return [self._by_plate[other] for other in others if plates.flaws(plate, other)]

    def credential(self, credential_id: str) -> Entry | None:
        return self._by_credential.get(credential_id)

    def of_unit(self, unit: str) -> list[Entry]:
        return self._by_unit.get(unit, [])


class _Scan:
    """The same answers by walking through the list: for a list that is asked once, and to judge the index by."""

    def __init__(self, entries: Iterable[Entry]) -> None:
        self._entries = list(entries)

    def of_plate(self, plate: str) -> list[Entry]:
        return [entry for entry in self._entries if entry.plate == plate]

    def alike(self, plate: str) -> list[list[Entry]]:
        return self._grouped(
            entry for entry in self._entries if entry.plate != plate and plates.fits(plate, entry.plate)
        )

    def near(self, plate: str) -> list[list[Entry]]:
        # Most plates are told apart by their skeleton, at a small part of the cost.
        skeletons = plates.skeletons(plate)
        near = (entry for entry in self._entries if plates.skeleton(entry.plate) in skeletons)
        return self._grouped(entry for entry in near if plates.flaws(plate, entry.plate))

    def _grouped(self, entries: Iterable[Entry]) -> list[list[Entry]]:
        found: dict[str, list[Entry]] = {}
        for entry in entries:
            found.setdefault(entry.plate, []).append(entry)
        return list(found.values())

    def credential(self, credential_id: str) -> Entry | None:
        return next((entry for entry in self._entries if entry.credential_id == credential_id), None)

    def of_unit(self, unit: str) -> list[Entry]:
        return [entry for entry in self._entries if entry.unit == unit]


def scan(entries: Iterable[Entry]) -> Listed:
    return _Scan(entries)
