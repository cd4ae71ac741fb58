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
_SKELETON_CHARS: Final = sorted({chr(_SKELETON.get(ord(c), ord(c))) for c in "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ"})
MAX_CONFUSIONS: Final = 2
"""Characters in which a read may differ from a plate and still fit it."""
MIN_WHOLE: Final = 6
"""Characters of a plate of which one may be lost or added."""


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


def flaws(read: str, plate: str) -> int | None:
    """Count what is wrong with ``read`` if it is a bad read of ``plate`` that ``fits`` doesn't take; None if it isn't.

    Three look-alikes; or one or two characters too many at the ends (the country's strip, a screw), one character
    doubled, one lost at an end or as one of two equal neighbours, each with one look-alike beside it at most. What is
    lost or added needs a plate of ``MIN_WHOLE`` characters: little is left of a shorter one.
    """
    longer = len(read) - len(plate)
    if longer == 0:
        count = confusions(read, plate)
        return count if count == MAX_CONFUSIONS + 1 else None
    if longer not in (-1, 1, 2) or len(plate) < MIN_WHOLE:
        return None
    if longer < 0:
        pairs = [(read, shorter) for shorter in _shorter(plate)]
    elif longer == 1:
        pairs = [(shorter, plate) for shorter in _shorter(read)]
    else:
        pairs = [(part, plate) for part in (read[2:], read[1:-1], read[:-2])]
    counts = [count for pair in pairs if (count := confusions(*pair)) is not None and count <= 1]
    return abs(longer) + min(counts) if counts else None


def _shorter(text: str) -> list[str]:
    """Return a text without its first, its last, and one of two equal neighbours."""
    twins = [text[:at] + text[at + 1 :] for at in range(1, len(text)) if text[at] == text[at - 1]]
    return [text[1:], text[:-1], *twins]


def skeletons(read: str) -> set[str]:
    """Return the skeletons of all plates of which ``read`` may be a bad read (``flaws``), and of more."""
    bare = skeleton(read)
    found = {bare, bare[2:], bare[1:-1], bare[:-2], *_shorter(bare)}
    found.update(bare[:at] + bare[at - 1 :] for at in range(1, len(bare) + 1))
    for char in _SKELETON_CHARS:
        found.update((char + bare, bare + char))
    return found


def masked(plate: str | None) -> str:
    """Return a form for logs that tells two cars apart for a person on site but is no plate: ``12…D``."""
    if not plate:
        return "-"
    return f"{plate[:2]}…{plate[-1]}" if len(plate) > 4 else "…"
