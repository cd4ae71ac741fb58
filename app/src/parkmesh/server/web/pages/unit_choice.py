"""Choosing a unit by its name: a community may have thousands, too many to choose from a list.

The field suggests some names; the server finds the unit by what was entered, and never guesses one.
"""

from parkmesh.server.db.database import Connection
from parkmesh.server.people import units
from parkmesh.server.web.pages.visit import Visit

FIELD = "unit"
SUGGESTED = 200
NAMED = 5
"""How many names an error offers instead of one that no unit has."""


async def suggested(visit: Visit, connection: Connection) -> list[str]:
    """Return the names that the field suggests: units whose names resemble the entered text, else the first ones."""
    entered = visit.form.value(FIELD).strip()[:60]
    found = await units.named(connection, visit.member.community_id, entered, limit=SUGGESTED)
    return [name for _, name in found or await units.named(connection, visit.member.community_id, "", limit=SUGGESTED)]


async def chosen(visit: Visit, connection: Connection, *, required: bool = False) -> int | None:
    """Return the unit that was entered, None where none was; note an error where there is no unit of that name."""
    form, _ = visit.form, visit.language.gettext
    name = form.text(FIELD, least=1 if required else 0, most=60)
    if not name or form.errors.get(FIELD):
        return None
    found = await units.named(connection, visit.member.community_id, name, limit=NAMED)
    alike = [unit for unit in found if unit[1].lower() == name.lower()]
    if found and (found[0][1] == name or len(alike) == 1):
        return found[0][0]
    if found:
        names = ", ".join(unit[1] for unit in found)
        form.wrong(FIELD, _("No unit is called exactly %(name)s. Similar: %(names)s.", name=name, names=names))
    else:
        form.wrong(FIELD, _("No unit is called %(name)s.", name=name))
    return None
