"""The language of a page: its texts, and dates and numbers as its readers write them.

Texts are gettext messages whose ids are the English texts. The catalogues are ``server/web/locale/<code>/LC_MESSAGES/
parkmesh.po``; they are read when the first page in that language is asked for, and kept.
"""

import gettext
import io
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from functools import cache, cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal
from zoneinfo import ZoneInfo

from starlette.requests import HTTPConnection

from parkmesh.domain import accepted_language
from parkmesh.server.http.messages import Message
from parkmesh.server.web import security

if TYPE_CHECKING:
    from babel import Locale

LANGUAGES = {"en": "English", "es": "Español"}
DEFAULT = "en"
COOKIE_LIFE = timedelta(days=365)
DOMAIN = "parkmesh"
FOLDER = Path(__file__).parent / "locale"

# How dates are written. The times of English pages are those of Europe: 24 hours, day before month.
_LOCALES = {"en": "en_GB", "es": "es_ES"}


def N_(message: str) -> str:
    """Mark a text for the catalogues where it is kept to be translated later."""
    return message


@dataclass(frozen=True)
class Language:
    """One language. ``code`` is what ``<html lang>`` says."""

    code: str
    _catalogue: gettext.NullTranslations = field(repr=False)

    @cached_property
    def _locale(self) -> "Locale":
        from babel import Locale

        return Locale.parse(_LOCALES[self.code])

    def gettext(self, message: str, /, **variables: object) -> str:
        """Return a text in this language, its ``%(name)s`` filled in."""
        text = self._catalogue.gettext(message) if message else ""
        return text % variables if variables else text

    def ngettext(self, one: str, many: str, number: int, /, **variables: object) -> str:
        """Return the text that fits ``number``, which is filled in as ``%(num)s``."""
        return self._catalogue.ngettext(one, many, number) % {"num": self.number(number), **variables}

    def say(self, text: str) -> str:
        """Return a text that the server made, such as what is wrong, in this language."""
        if not isinstance(text, Message):
            return self.gettext(text)
        shown = {name: self.number(value) if isinstance(value, int) else value for name, value in text.values.items()}
        return self.gettext(text.id, **shown)

    def number(self, number: float) -> str:
        from babel.numbers import format_decimal

        return format_decimal(number, locale=self._locale)

    def percent(self, share: float) -> str:
        """Return a share of 1 in percent, with one decimal at most."""
        from babel.numbers import format_percent

        return format_percent(share, "#,##0.#%" if self.code == "en" else "#,##0.#\xa0%", locale=self._locale)

    def clock(self, moment: datetime, zone: ZoneInfo, *, seconds: bool = False) -> str:
        """Return the time of day in a zone."""
        return moment.astimezone(zone).strftime("%H:%M:%S" if seconds else "%H:%M")

    def day(self, moment: datetime | date, zone: ZoneInfo | None = None, *, form: str = "d MMM y") -> str:
        """Return the day in a zone, or a date, written after a CLDR pattern."""
        from babel.dates import format_date

        if isinstance(moment, datetime):
            moment = moment.astimezone(zone).date()
        return format_date(moment, form, locale=self._locale)

    def weekday(self, number: int) -> str:
        """Return the name of a day of the week, Monday being 1."""
        names = self._locale.days["stand-alone"]["wide"]
        return str(names[(number - 1) % 7]).capitalize()

    def moment(self, moment: datetime, zone: ZoneInfo) -> str:
        """Return day and time in a zone; the year only where it is not this one."""
        local = moment.astimezone(zone)
        form = "EEE d MMM" if local.year == datetime.now(zone).year else "d MMM y"
        return f"{self.day(local, zone, form=form)}, {self.clock(moment, zone)}"

    def span(self, begin: datetime, end: datetime, zone: ZoneInfo) -> str:
        """Return a time from ``begin`` to ``end``."""
        if begin.astimezone(zone).date() == end.astimezone(zone).date():
            return f"{self.moment(begin, zone)}-{self.clock(end, zone)}"
        return f"{self.moment(begin, zone)} - {self.moment(end, zone)}"

    def duration(self, length: timedelta, *, form: Literal["short", "long"] = "short") -> str:
        """Return a length of time in its two largest units, such as ``2 days 5 hr``; ``long`` writes them out."""
        from babel.units import format_unit

        minutes = max(int(length.total_seconds()) // 60, 0)
        parts = [("day", minutes // 1440), ("hour", minutes // 60 % 24), ("minute", minutes % 60)]
        shown = [part for part in parts if part[1]][:2] or [("minute", 0)]
        return " ".join(format_unit(number, unit, form, locale=self._locale) for unit, number in shown)

    def ago(self, moment: datetime | None) -> str:
        """Return how long ago something was, in the largest fitting unit."""
        from babel.dates import format_timedelta

        if moment is None:
            return self.gettext("never")
        past = max(datetime.now(UTC) - moment, timedelta(seconds=1))
        return format_timedelta(-past, granularity="second", threshold=1, add_direction=True, locale=self._locale)


@cache
def language(code: str) -> Language:
    """Return one of ``LANGUAGES``."""
    return Language(code, _catalogue(code))


def catalogue_file(code: str) -> Path:
    return FOLDER / code / "LC_MESSAGES" / f"{DOMAIN}.po"


def _catalogue(code: str) -> gettext.NullTranslations:
    from babel.messages.mofile import write_mo
    from babel.messages.pofile import read_po

    compiled = io.BytesIO()
    with catalogue_file(code).open("rb") as file:
        write_mo(compiled, read_po(file, locale=code))
    compiled.seek(0)
    return gettext.GNUTranslations(compiled)


def of(request: HTTPConnection) -> Language:
    """Return the language to answer in: the reader's choice, else the browser's, else English."""
    chosen = request.cookies.get(security.language_cookie(request.app.state.settings), "")
    return language(chosen if chosen in LANGUAGES else preferred(request.headers.get("accept-language", "")))


def preferred(header: str) -> str:
    """Return the code of the language that an ``Accept-Language`` header likes best of those there are."""
    return accepted_language.preferred(header, LANGUAGES, DEFAULT)


def jinja_callables() -> dict[str, Any]:
    """Return ``gettext`` and ``ngettext`` for templates, in the language of the page that is rendered."""
    from jinja2 import pass_context
    from jinja2.runtime import Context

    @pass_context
    def in_context(context: Context, message: str) -> str:
        text: str = context["language"].gettext(message)
        return text

    @pass_context
    def plural_in_context(context: Context, one: str, many: str, number: int) -> str:
        text: str = context["language"]._catalogue.ngettext(one, many, number)
        return text

    return {"gettext": in_context, "ngettext": plural_in_context}
