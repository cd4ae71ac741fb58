"""Licence plates: one spelling for one plate, and which spellings a camera confuses.

Plates reach us from cameras, residents and import files in every spelling: lower case, with separators, with Cyrillic
or Greek letters that look Latin. ``normalise`` gives all of them one form; everything stored or compared is in it.
"""

import unicodedata
from typing import Final

MIN_LENGTH: Final = 2
MAX_LENGTH: Final = 12
"""Characters of a normalised plate. The wire format allows 16, so a longer scheme needs no change there."""

_MAX_RAW = 64

# Letters on European plates that are drawn like a Latin one. Only capitals: the text is upper-cased first.
_CYRILLIC: Final = ("АВЕЅІЈКМНОРСТУХҮԀԚԜ", "ABESIJKMHOPCTYXYDQW")
_GREEK: Final = ("ΑΒΕΖΗΙΚΜΝΟΡΤΥΧϹͿ", "ABEZHIKMNOPTYXCJ")  # noqa: RUF001
_LATIN: Final = ("ØĐŁ", "ODL")  # those that no decomposition reaches
_LOOK_ALIKES: Final = {ord(a): b for pair in (_CYRILLIC, _GREEK, _LATIN) for a, b in zip(*pair, strict=True)}

_SEPARATORS: Final = frozenset("\t\r\n.,·•'\u2019:/\\")
_SEPARATOR_CATEGORIES: Final = frozenset({"Zs", "Zl", "Zp", "Pd", "Pc", "Cf", "Mn", "Me"})

# What readers write when they saw a vehicle but no plate.
_NO_PLATE: Final = frozenset({"UNKNOWN", "NOPLATE"})

_CONFUSED: Final = ("0ODQ", "1I", "2Z", "5S", "8B", "6G")
CONFUSED_WITH: Final = ("".join(_CONFUSED), "".join(group[0] * len(group) for group in _CONFUSED))
"""The letters that cameras confuse, and to each the first of its group: what ``skeleton`` replaces, for a database."""
_SKELETON: Final = str.maketrans(*CONFUSED_WITH)
MAX_CONFUSIONS: Final = 2
"""Characters in which a read may differ from a plate and still fit it."""


def normalise(text: str) -> str | None:
    """Return the one spelling of a plate: A-Z and 0-9, ``MIN_LENGTH`` to ``MAX_LENGTH`` characters.

    Upper-cases, drops separators and accents, and maps Cyrillic and Greek look-alikes to their Latin letter. Returns
    None where the text is no plate: ``unknown``, too short, too long, or with a character that is neither a letter of
    a plate nor a separator (``?`` for an unreadable place must not vanish and leave another plate behind).
    """
    if len(text) > _MAX_RAW:
        return None
    kept: list[str] = []
    # Upper case can bring new composed letters and the decomposition new small ones: upper-case on both sides of it.
    for char in unicodedata.normalize("NFKD", text.upper()).upper().translate(_LOOK_ALIKES):
        if char.isascii() and char.isalnum():
            kept.append(char)
        elif char in _SEPARATORS or unicodedata.category(char) in _SEPARATOR_CATEGORIES:
            continue
        elif (digit := unicodedata.decimal(char, None)) is not None:
            kept.append(str(digit))
        else:
            return None
    plate = "".join(kept)
    if not MIN_LENGTH <= len(plate) <= MAX_LENGTH or plate in _NO_PLATE:
        return None
    return plate


def skeleton(plate: str) -> str:
    """Return the plate with each letter that cameras confuse replaced by its group's first: equal means 'may be'."""
    return plate.translate(_SKELETON)


def confusions(read: str, plate: str) -> int | None:
    """Count the characters of ``read`` that are a typical misreading of ``plate``'s; None where another one differs.

    Both are normalised. 0 means that they are equal.
    """
    if len(read) != len(plate) or skeleton(read) != skeleton(plate):
        return None
    return sum(a != b for a, b in zip(read, plate, strict=True))


def fits(read: str, plate: str) -> bool:
    """Tell whether ``read`` can be a camera's misreading of ``plate`` (at most ``MAX_CONFUSIONS`` characters)."""
    count = confusions(read, plate)
    return count is not None and count <= MAX_CONFUSIONS


def masked(plate: str | None) -> str:
    """Return a form for logs that tells two cars apart for a person on site but is no plate: ``12…D``."""
    if not plate:
        return "-"
    return f"{plate[:2]}…{plate[-1]}" if len(plate) > 4 else "…"
