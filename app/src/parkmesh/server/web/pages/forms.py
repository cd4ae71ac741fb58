"""Forms: reading what was entered, remembering it, and what is wrong with it.

A form that could not be accepted is shown again with the entered values, each error at its field and all of them in a
summary on top. Passwords are never shown again: their fields don't ask for what was entered.
"""

import re
from collections.abc import AsyncGenerator
from dataclasses import dataclass, field
from datetime import date, datetime, time
from urllib.parse import parse_qs
from zoneinfo import ZoneInfo

from starlette.datastructures import UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import Request

from parkmesh.domain import local_time, plates
from parkmesh.server.http.problems import Problem
from parkmesh.server.web.language import Language

MAX_FIELDS = 60
MAX_TEXT = 200
MAX_NUMBER = 2**63 - 1
MAX_PLATE = 40
"""Characters of a plate as people write it, with spaces and dashes."""
MEDIA_TYPE = "application/x-www-form-urlencoded"
WITH_FILES = "multipart/form-data"


def offset_field(name: str) -> str:
    """Return the field that tells which moment is meant by a time that the clock shows twice."""
    return f"{name}-offset"


def offset_of(moment: datetime, zone: ZoneInfo) -> str:
    """Return what that field holds for a moment: ``+02:00``."""
    return moment.astimezone(zone).isoformat()[-6:]


@dataclass
class Form:
    """What was entered, by field, and ``errors`` by field in the order they were found; those of no field under "".
    ``files`` are the bytes of chosen files by field, of forms that take files."""

    language: Language
    fields: dict[str, list[str]] = field(default_factory=dict)
    errors: dict[str, str] = field(default_factory=dict)
    sent: bool = False
    files: dict[str, bytes] = field(default_factory=dict)
    twice: dict[str, list[tuple[str, str]]] = field(default_factory=dict)
    """Fields with a time that the clock shows twice: the choices of their ``offset_field``, as value and text."""
    labels: dict[str, str] = field(default_factory=dict)
    """The label of each field that the page shows, filled while it is rendered: see ``rendering._html``."""

    def value(self, name: str, default: object = "") -> str:
        """Return what the field shows: what was entered, else (or where another form was sent) ``default``."""
        if self.sent and name in self.fields:
            return self.fields[name][-1]
        return "" if default is None else str(default)

    def ticked(self, name: str, value: str = "on", default: bool = False, beside: str = "") -> bool:
        """Tell whether a box or one choice of several is ticked.

        A box that isn't ticked is not sent: ``beside`` names a field of its form, by which that form is known among
        others of the page.
        """
        sent = self.sent and (not beside or beside in self.fields)
        return value in self.fields.get(name, []) if sent else default

    def shows(self, name: str, label: str) -> str:
        """Note that the page shows a field, under an ``id`` of its name; return nothing to show."""
        self.labels.setdefault(name, label)
        return ""

    def many(self, name: str) -> list[str]:
        return self.fields.get(name, [])

    def wrong(self, name: str, text: str) -> None:
        """Note an error of a field ("" for the whole form). The first of each field counts."""
        self.errors.setdefault(name, text)

    def text(self, name: str, *, least: int = 1, most: int = MAX_TEXT) -> str:
        """Return a line of text of ``least`` to ``most`` characters."""
        text = self.value(name).strip()
        _ = self.language.gettext
        if not text and least:
            self.wrong(name, _("Enter something here."))
        elif not text.isprintable() or not least <= len(text) <= most:
            self.wrong(name, _("Enter %(least)s to %(most)s characters.", least=max(least, 1), most=most))
        return text

    def writing(self, name: str, *, least: int, most: int) -> str:
        """Return a text of several lines of ``least`` to ``most`` characters."""
        # Browsers end lines as the protocol of forms says, the text knows one kind of end.
        text = self.value(name).replace("\r\n", "\n").strip()
        if not least <= len(text) <= most or not text.replace("\n", "").isprintable():
            self.wrong(name, self.language.gettext("Enter %(least)s to %(most)s characters.", least=least, most=most))
        return text

    def choice(self, name: str, allowed: list[str] | tuple[str, ...] | dict[str, str]) -> str:
        """Return one of ``allowed``."""
        chosen = self.value(name)
        if chosen not in allowed:
            self.wrong(name, self.language.gettext("Choose one of the list."))
        return chosen

    def number(self, name: str, low: int, high: int = MAX_NUMBER) -> int:
        """Return a whole number from ``low`` to ``high``, ``low`` where there is none."""
        text = self.value(name).strip()
        if text.isascii() and text.isdigit() and len(text) < 20 and low <= int(text) <= high:
            return int(text)
        self._outside(name, low, high)
        return low

    def optional_number(self, name: str, low: int, high: int = MAX_NUMBER) -> int | None:
        return self.number(name, low, high) if self.value(name).strip() else None

    def plate(self, name: str = "plate") -> str | None:
        """Return a licence plate in its one spelling, None where there is none."""
        text = self.text(name, most=MAX_PLATE)
        plate = plates.normalise(text)
        if plate is None:
            self.wrong(name, self.language.gettext("This is not a licence plate: 2 to 12 letters and digits."))
        return plate

    def optional_plate(self, name: str = "plate") -> str | None:
        return self.plate(name) if self.value(name).strip() else None

    def decimal(self, name: str, low: float, high: float, *, places: int = 3) -> float:
        """Return a number from ``low`` to ``high`` with a point or a comma, ``low`` where there is none."""
        text = self.value(name).strip().replace(",", ".")
        decimals = rf"(\.[0-9]{{1,{places}}})?" if places else ""
        if re.fullmatch(rf"-?[0-9]{{1,6}}{decimals}", text) and low <= float(text) <= high:
            return float(text)
        self._outside(name, low, high)
        return low

    def _outside(self, name: str, low: float, high: float) -> None:
        language = self.language
        bounds = {"low": language.number(low), "high": language.number(high)}
        self.wrong(name, language.gettext("Enter a number from %(low)s to %(high)s.", **bounds))

    def moment(self, name: str, zone: ZoneInfo) -> datetime | None:
        """Return a day and time of the community's clock (``datetime-local``) in UTC, None where there is none.

        A time that the clock skips is refused with the two next to it. Of one that comes twice the form asks which is
        meant: the answer, an offset, is in another field (``offset_field``).
        """
        try:
            moment = datetime.fromisoformat(self.value(name))
        except ValueError:
            moment = None
        if moment is None or moment.tzinfo is not None or not 2000 <= moment.year < 2200:
            self.wrong(name, self.language.gettext("Enter a day and a time."))
            return None
        found = local_time.moments(moment, zone)
        if not found:
            before, after = (self.language.clock(at, zone) for at in local_time.beside_skipped(moment, zone))
            self.wrong(
                name,
                self.language.gettext(
                    "The clock skips %(time)s on that day. Choose %(before)s or %(after)s.",
                    time=f"{moment:%H:%M}",
                    before=before,
                    after=after,
                ),
            )
            return None
        return found[0] if len(found) == 1 else self._one_of_two(name, found, zone)

    def _one_of_two(self, name: str, found: list[datetime], zone: ZoneInfo) -> datetime | None:
        _ = self.language.gettext
        offsets = [offset_of(at, zone) for at in found]
        first, second = offsets
        clock = self.language.clock(found[0], zone)
        self.twice[name] = [
            (first, _("%(time)s for the first time (UTC%(offset)s)", time=clock, offset=first)),
            (second, _("%(time)s for the second time (UTC%(offset)s)", time=clock, offset=second)),
        ]
        chosen = self.value(offset_field(name))
        if chosen not in offsets:
            self.wrong(name, _("The clock shows %(time)s twice on that day. Choose which one you mean.", time=clock))
            return None
        return found[offsets.index(chosen)]

    def optional_moment(self, name: str, zone: ZoneInfo) -> datetime | None:
        return self.moment(name, zone) if self.value(name).strip() else None

    def day(self, name: str) -> date | None:
        """Return a day (``date``), None where there is none."""
        try:
            day = date.fromisoformat(self.value(name))
        except ValueError:
            day = None
        if day is None or not 2000 <= day.year < 2200:
            self.wrong(name, self.language.gettext("Enter a day."))
            return None
        return day

    def optional_day(self, name: str) -> date | None:
        return self.day(name) if self.value(name).strip() else None

    def clock(self, name: str) -> time | None:
        """Return a time of day (``time``), None where there is none."""
        try:
            clock = time.fromisoformat(self.value(name))
        except ValueError:
            clock = None
        if clock is None or clock.tzinfo is not None:
            self.wrong(name, self.language.gettext("Enter a time."))
            return None
        return clock

    def refused(self, problem: Problem, name: str = "", zone: ZoneInfo | None = None) -> None:
        """Note what a service refused, at a field or for the whole form.

        What no form can mend (sign in, no such thing, not allowed) is raised again.
        """
        if problem.status_code in (401, 403, 404) or problem.status_code >= 500:
            raise problem
        self.wrong(name, problem_text(self.language, problem, zone))


def problem_text(language: Language, problem: Problem, zone: ZoneInfo | None = None) -> str:
    """Return a problem in the reader's language, with the time that is in the way where there is one."""
    text = language.say(problem.detail)
    conflict = problem.members.get("conflict")
    if isinstance(conflict, dict) and zone and conflict.get("from") and conflict.get("until"):
        begin, end = (datetime.fromisoformat(str(conflict[name])) for name in ("from", "until"))
        text = f"{text} {language.gettext('Taken')}: {language.span(begin, end, zone)}."
    return text


class _InMemory(MultiPartParser):
    # The body's limit bounds them: nothing of them is written to a disk.
    spool_max_size = 2**31


async def read(request: Request, language: Language, *, files: bool = False, max_fields: int = MAX_FIELDS) -> Form:
    """Return the form that came with a request, with ``files`` also one with a file; raise ``Problem`` 415 or 400 for
    anything else."""
    media_type = request.headers.get("content-type", "").partition(";")[0].strip()
    if files and media_type == WITH_FILES:
        return await _with_files(request, language)
    if media_type != MEDIA_TYPE:
        raise Problem(415, "Expected a form.")
    try:
        fields = parse_qs((await request.body()).decode(), keep_blank_values=True, max_num_fields=max_fields)
    except ValueError:
        raise Problem(400, "The form can't be read.", kind="malformed") from None
    return Form(language, fields, sent=True)


async def _with_files(request: Request, language: Language) -> Form:
    body = await request.body()

    async def stream() -> AsyncGenerator[bytes]:
        yield body

    parser = _InMemory(request.headers, stream(), max_files=1, max_fields=MAX_FIELDS, max_part_size=max(len(body), 1))
    form = Form(language, sent=True)
    try:
        parts = await parser.parse()
    except (MultiPartException, KeyError, ValueError):
        raise Problem(400, "The form can't be read.", kind="malformed") from None
    for name, part in parts.multi_items():
        if not isinstance(part, UploadFile):
            form.fields.setdefault(name, []).append(part)
        elif content := await part.read():
            # Where no file is chosen, browsers send an empty one.
            form.files[name] = content
    return form
