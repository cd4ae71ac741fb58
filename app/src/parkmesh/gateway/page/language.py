"""The languages of the page. Texts are English; ``spanish`` has each of them in Spanish.

The application's pages have catalogues of their own, with tools that no gateway carries. What both say is said alike: a
test compares.
"""

from collections.abc import Mapping

from msgspec import Struct

from parkmesh.domain import accepted_language
from parkmesh.gateway.page.spanish import SPANISH

DEFAULT = "en"
_TEXTS: Mapping[str, Mapping[str, str]] = {"en": {}, "es": SPANISH}


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
    return accepted_language.preferred(header, _TEXTS, DEFAULT)
