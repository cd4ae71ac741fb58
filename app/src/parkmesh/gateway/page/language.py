"""The languages of the page. Texts are English; ``spanish`` has each of them in Spanish.

The application's pages have catalogues of their own, with tools that no gateway carries. What both say is said alike: a
test compares.
"""

from collections.abc import Mapping

from msgspec import Struct

from parkmesh.gateway.page.spanish import SPANISH

DEFAULT = "en"
_TEXTS: Mapping[str, Mapping[str, str]] = {"en": {}, "es": SPANISH}
_MAX_HEADER = 200


class Language(Struct, frozen=True):
    """One language. ``code`` is what ``<html lang>`` says."""

    code: str

    def say(self, text: str, **values: object) -> str:
        """Return a text in this language, its ``%(name)s`` filled in where there are values."""
        found = _TEXTS[self.code].get(text, text)
        return found % values if values else found


def of(code: str) -> Language:
    return Language(code)


def preferred(header: str) -> str:
    """Return the code of the language that an ``Accept-Language`` header likes best of those there are."""
    best, best_weight = DEFAULT, 0.0
    for item in header[:_MAX_HEADER].split(","):
        tag, _, parameter = item.strip().partition(";")
        code = tag.strip().lower().partition("-")[0]
        try:
            weight = float(parameter.strip().removeprefix("q=")) if parameter else 1.0
        except ValueError:
            continue
        if code in _TEXTS and best_weight < weight <= 1:
            best, best_weight = code, weight
    return best
