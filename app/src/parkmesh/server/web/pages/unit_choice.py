"""Choosing a unit by its name: a community may have thousands, too many to choose from a list.

The field suggests all names where there are few. Where there are many its script asks for those like what was typed
(``find``); without scripts the name is typed. The server finds the unit by what was entered, and never guesses one: it
says which names are near.
"""

from dataclasses import dataclass

from starlette.responses import JSONResponse, Response

from parkmesh.server.db.database import Connection
from parkmesh.server.people import units
from parkmesh.server.web.pages.visit import Access, Visit, page

FIELD = "unit"
MAKE = "make_unit"
"""The field of a button that makes the unit of this name with the form."""
SUGGESTED = 50
FOUND = 20
"""How many names a search gives while one types."""
MAX_NAME = 60
NAMED = 5
"""How many names an error offers instead of one that no unit has."""


@dataclass(frozen=True, slots=True)
class Chosen:
    """A unit's ``id``, or the name of one that could be made: ``new``."""

    id: int | None = None
    new: str = ""


@dataclass(frozen=True, slots=True)
class Suggested:
    """The ``names`` that the field suggests from the start; with ``more`` the community has others, to be found by a
    search."""

    names: list[str]
    more: bool


async def suggested(visit: Visit, connection: Connection) -> Suggested:
    """Return what the field suggests: all units where they are few, else those like what was entered before."""
    identity, entered = visit.member.community_id, visit.form.value(FIELD).strip()[:MAX_NAME]
    every = await units.named(connection, identity, "", limit=SUGGESTED + 1)
    if len(every) <= SUGGESTED:
        return Suggested([name for _, name in every], more=False)
    found = await units.named(connection, identity, entered, limit=FOUND) if entered else []
    return Suggested([name for _, name in found], more=True)


async def find(visit: Visit) -> Response:
    """Answer the script of the field with the names of units that contain what is typed, the nearest first."""
    text = visit.query("q", MAX_NAME)
    found: list[tuple[int, str]] = []
    if text:
        async with visit.reading() as connection:
            found = await units.named(connection, visit.member.community_id, text, limit=FOUND)
    return JSONResponse([name for _, name in found])


async def chosen(visit: Visit, connection: Connection, *, required: bool = False) -> int | None:
    """Return the unit that was entered, None where none was; note an error where there is no unit of that name."""
    return (await _found(visit, connection, required=required)).id


async def chosen_or_new(visit: Visit, connection: Connection) -> Chosen:
    """Return the unit that was entered, as ``chosen`` does; where there is none of that name, the name that a form may
    ask for to be made (``MAKE``). Where it did ask, there is no error."""
    found = await _found(visit, connection)
    if found.new and visit.form.value(MAKE) == found.new:
        visit.form.errors.pop(FIELD)
    return found


async def _found(visit: Visit, connection: Connection, *, required: bool = False) -> Chosen:
    form, _ = visit.form, visit.language.gettext
    name = form.text(FIELD, least=1 if required else 0, most=MAX_NAME)
    if not name or form.errors.get(FIELD):
        return Chosen()
    found = await units.named(connection, visit.member.community_id, name, limit=NAMED)
    alike = [unit for unit in found if unit[1].lower() == name.lower()]
    if found and (found[0][1] == name or len(alike) == 1):
        return Chosen(found[0][0])
    if found:
        names = ", ".join(unit[1] for unit in found)
        form.wrong(FIELD, _("No unit is called exactly %(name)s. Similar: %(names)s.", name=name, names=names))
    else:
        form.wrong(FIELD, _("No unit is called %(name)s.", name=name))
    # Names that differ from it in capitals only are units that somebody means.
    return Chosen(new="" if alike else name)


ROUTES = [page("/communities/{community}/unit-names", Access.STAFF, find)]
