"""Gates with their lanes, the rules of the community, and who is inside."""

import msgspec
from starlette.responses import Response

from parkmesh.domain import plates
from parkmesh.server import gates, presence, rules
from parkmesh.server.problems import Problem
from parkmesh.server.web import words
from parkmesh.server.web.pages.access import Access, Visit, action, page
from parkmesh.server.web.pages.rendering import render

SHOWN = 200
MIN_REASON, MAX_REASON = 3, 200
NUMBERS = {
    "entry_hold_s": (0, 60),
    "exit_hold_s": (0, 60),
    "refusal_hold_s": (0, 600),
    "same_plate_window_s": (1, 3600),
    "visitor_passes_per_unit": (0, 10000),
    "visitor_pass_max_hours": (1, 8760),
    "booking_max_hours": (1, 8760),
    "booking_days_ahead": (1, 730),
    "bookings_per_unit": (0, 1000),
}
"""Rules that are numbers, with the bounds of ``rules.Rules``."""


async def show(visit: Visit) -> Response:
    identity = visit.member.community_id
    async with visit.reading() as connection:
        present = await rules.read(connection, identity)
        known = await gates.all_of(connection, identity)
        inside = await presence.page(connection, identity, limit=SHOWN)
        occupancy = await presence.occupancy(connection, identity)
    return render(
        visit,
        "gates.html",
        rules=present,
        seen=msgspec.json.encode(present).decode(),
        numbers=NUMBERS,
        gates=known,
        inside=inside,
        occupancy=occupancy,
    )


async def change_rules(visit: Visit) -> Response:
    """Put the rules of the form in place, unless somebody changed them since the form was shown."""
    form, identity = visit.form, visit.member.community_id
    numbers = {name: form.number(name, low, high) for name, (low, high) in NUMBERS.items()}
    lots = form.optional_number("lots_per_unit", 0, 1000)
    passback = form.choice("anti_passback", words.PASSBACK)
    if not form.errors:
        try:
            async with visit.acting() as connection:
                present = await rules.lock(connection, identity)
                if form.value("seen") != msgspec.json.encode(present).decode():
                    raise Problem(412, words.STATUS_CODE[412])
                wanted = msgspec.convert(
                    {
                        **numbers,
                        "lots_per_unit": lots,
                        "anti_passback": passback,
                        "residents_open_gates": form.ticked("residents_open_gates"),
                    },
                    rules.Rules,
                )
                await rules.change(connection, visit.principal, identity, present, wanted)
            return visit.go(f"{visit.base}/gates", done="saved")
        except Problem as problem:
            form.refused(problem)
    return await show(visit)


async def save_gate(visit: Visit) -> Response:
    """Add a gate, or give one another title and direction."""
    form, identity = visit.form, visit.member.community_id
    name, title = form.text("gate_name", most=63).lower(), form.text("gate_title", most=120)
    chosen = form.choice("gate_direction", words.DIRECTION)
    if not form.errors:
        try:
            async with visit.acting() as connection:
                known = {item.name: item for item in await gates.all_of(connection, identity)}
                lanes = known[name].lanes if name in known else []
                wanted = msgspec.convert(
                    {"name": name, "title": title, "direction": chosen, "lanes": msgspec.to_builtins(lanes)}, gates.Gate
                )
                if form.value("gate_exists") and name in known:
                    await gates.get(connection, identity, name, lock=True)
                    await gates.change(connection, visit.principal, identity, wanted)
                else:
                    await gates.create(connection, visit.principal, identity, wanted)
            return visit.go(f"{visit.base}/gates", done="saved")
        except msgspec.ValidationError:
            form.wrong("gate_name", visit.language.gettext("Lower-case letters, digits and dashes."))
        except Problem as problem:
            form.refused(problem, "gate_name")
    return await show(visit)


async def delete_gate(visit: Visit) -> Response:
    async with visit.acting() as connection:
        await gates.delete(connection, visit.principal, visit.member.community_id, visit.path("gate"))
    return visit.go(f"{visit.base}/gates", done="removed")


async def correct(visit: Visit) -> Response:
    """Say where a car is, whatever the gates saw."""
    form, identity = visit.form, visit.member.community_id
    plate = plates.normalise(form.text("plate", most=40))
    if plate is None:
        form.wrong("plate", visit.language.gettext("This is not a licence plate: 2 to 12 letters and digits."))
    inside = form.choice("inside", ("yes", "no")) == "yes"
    reason = form.text("reason", least=MIN_REASON, most=MAX_REASON)
    if plate and not form.errors:
        try:
            async with visit.acting() as connection:
                await presence.lock(connection, identity)
                await presence.correct(connection, visit.principal, identity, plate, inside, reason)
            return visit.go(f"{visit.base}/gates", done="corrected")
        except Problem as problem:
            form.refused(problem, "plate")
    return await show(visit)


_GATES = "/communities/{community}/gates"
ROUTES = [
    page(_GATES, Access.STAFF, show),
    action(f"{_GATES}/save", Access.STAFF, save_gate),
    action(f"{_GATES}/{{gate}}/delete", Access.STAFF, delete_gate),
    action("/communities/{community}/rules", Access.STAFF, change_rules),
    action("/communities/{community}/presence", Access.STAFF, correct),
]
