"""The series of plates in Spain, France, Italy, Portugal, Germany and the United Kingdom: could a read be such a plate?

A read that is a whole plate as it stands, or nearer to one than to the plate on the list, may be another car rightly
read (``AQ123BB`` and ``AD123BB`` are two cars in France; ``AQ`` and ``AD`` can't both begin a Spanish plate). So a
decision asks how few look-alike letters are between a read and a plate of any series. Series are as the countries
issue them; Italy's letters are among France's, so France's series covers its plates too.
"""

from collections.abc import Iterable
from itertools import product
from typing import Final

from parkmesh.domain import plates

_DIGIT: Final = "0123456789"
_LETTER: Final = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"


def _without(letters: str) -> str:
    return "".join(letter for letter in _LETTER if letter not in letters)


_ALIKE: Final = {
    char: [other for other in _DIGIT + _LETTER if plates.skeleton(other) == plates.skeleton(char)]
    for char in _DIGIT + _LETTER
}

Part = tuple[int, dict[str, int]]
"""A part of a series: its width, and for each text that may stand there how many look-alikes are in it."""


def _part(words: Iterable[str]) -> Part:
    costs: dict[str, int] = {}
    width = 0
    for word in words:
        width = len(word)
        for seen in product(*(_ALIKE[char] for char in word)):
            cost = sum(a != b for a, b in zip(seen, word, strict=True))
            text = "".join(seen)
            costs[text] = min(cost, costs.get(text, cost))
    return width, costs


_D, _L = _part(_DIGIT), _part(_LETTER)
_FIRST, _E_OR_H = _part(_DIGIT[1:]), _part("EH")
_ES = _part(_without("AEIOUQ"))
_FR = _part(_without("IOU"))
_UK, _UK_AREA, _UK_YEAR = _part(_without("IQ")), _part(_without("IQZ")), _part(_without("IOQUZ"))
# Provinces of Spain until 2000: one letter or two.
_PROVINCES: Final = "ABCHJLMOPSTVZ"
_PAIRS: Final = "ABALAVBABIBUCACCCECOCRCSCUGCGEGIGRGUHUIBLELOLUMAMLMUNAOROUPMPOSASESGSOSSTETFTOVAVIZA"
_PROVINCES_2: Final = [_PAIRS[at : at + 2] for at in range(0, len(_PAIRS), 2)]

Series = tuple[Part, ...]

_SERIES: Final[tuple[Series, ...]] = (
    (*[_D] * 4, *[_ES] * 3),  # Spain
    *((_part(codes), *[_D] * 4, *[_L] * letters) for codes in (_PROVINCES, _PROVINCES_2) for letters in (1, 2)),
    (*[_FR] * 2, *[_D] * 3, *[_FR] * 2),  # France, Italy
    (*[_L] * 2, *[_D] * 2, *[_L] * 2),  # Portugal's four
    (*[_D] * 2, *[_L] * 2, *[_D] * 2),
    (*[_D] * 4, *[_L] * 2),
    (*[_L] * 2, *[_D] * 4),
    *(  # Germany: at most 8 characters
        (*[_L] * letters, _FIRST, *[_D] * (digits - 1), *mark)
        for letters in range(2, 6)
        for digits in range(1, 5)
        for mark in ((), (_E_OR_H,))
        if letters + digits + len(mark) <= 8
    ),
    (*[_UK_AREA] * 2, *[_D] * 2, *[_UK] * 3),  # United Kingdom
)
# Few are left, so only a British plate is taken for one: a Spanish 8234BCD isn't doubted for the sake of B234BCD.
_BRITISH: Final[tuple[Series, ...]] = tuple((_UK_YEAR, *[_D] * digits, *[_UK] * 3) for digits in (1, 2, 3))


def _width(series: Series) -> int:
    return sum(width for width, _ in series)


_BY_LENGTH: Final = {
    length: [series for series in _SERIES if _width(series) == length] for length in range(plates.MAX_LENGTH + 1)
}


def _distance(read: str, series: Series) -> int | None:
    at = total = 0
    for width, costs in series:
        cost = costs.get(read[at : at + width])
        if cost is None:
            return None
        total += cost
        at += width
    return total


def _least(read: str, every: Iterable[Series]) -> int | None:
    found = [distance for series in every if (distance := _distance(read, series)) is not None]
    return min(found, default=None)


def _is_british(plate: str) -> bool:
    return any(_width(series) == len(plate) and _distance(plate, series) == 0 for series in (_SERIES[-1], *_BRITISH))


def to_a_whole_plate(read: str, plate: str) -> int | None:
    """Return how few look-alikes of ``read`` make it a whole plate of a series; None where none do, 0 where it is one.

    ``plate`` is the plate on the list that the read would be taken for. If it is of no series (``GB123D``), its own
    letters and digits make one.
    """
    every = [*_BY_LENGTH.get(len(read), ())]
    if _is_british(plate):
        every += [series for series in _BRITISH if _width(series) == len(read)]
    if len(plate) == len(read) and _least(plate, every) != 0:
        every.append(tuple(_D if char.isdigit() else _L for char in plate))
    return _least(read, every)
