"""Gates with their lanes, the rules of the community, and presence."""

import dataclasses
from urllib.parse import quote

import msgspec
from starlette.responses import Response

from parkmesh.domain import words
from parkmesh.domain.community_rules import RULES, Rules
from parkmesh.server.access import gates, presence
from parkmesh.server.communities import rules
from parkmesh.server.db.database import Connection
from parkmesh.server.http import problems
from parkmesh.server.http.problems import Problem
from parkmesh.server.reservations import pass_codes
from parkmesh.server.spaces import counters
from parkmesh.server.web import labels
from parkmesh.server.web.fields import MAX_REASON, MIN_REASON
from parkmesh.server.web.pages import names, preconditions
from parkmesh.server.web.pages.confirming import asked
from parkmesh.server.web.pages.rendering import render
from parkmesh.server.web.pages.visit import Access, Visit, action, page

SHOWN = 200
GATE_SEEN, CODE_KEY_SEEN = "gate_seen", "code_key_seen"
"""What carries the mark of a gate and of the codes' key in its form; the rules have one of their own on the same page.
"""
NUMBERS = [rule for rule in RULES.values() if rule.kind is int and not rule.optional]


async def show(visit: Visit) -> Response:
    identity = visit.member.community_id
    async with visit.reading() as connection:
        present = await rules.read(connection, identity)
        known = await gates.all_of(connection, identity)
        inside = await presence.page(connection, identity, limit=SHOWN)
        occupancy = await presence.occupancy(connection, identity)
        counted = await counters.all_of(connection, identity)
        code_key = await pass_codes.key(connection, identity) if present.visitor_codes else None
    return render(
        visit,
        "gates.html",
        rules=present,
        seen=preconditions.mark(present),
        rule=RULES,
        numbers=NUMBERS,
        gates=[(gate, preconditions.mark(gate)) for gate in known],
        inside=inside,
        occupancy=occupancy,
        counters=counted,
        counter_names=[(one.name, one.name) for one in counted],
        most_vehicles=counters.MOST,
        code_key=code_key,
        code_key_seen=preconditions.mark(code_key.number) if code_key else "",
    )


async def change_rules(visit: Visit) -> Response:
    """Put the rules of the form in place, unless another user changed them since the form was shown."""
    form, identity = visit.form, visit.member.community_id
    numbers = {rule.name: form.number(rule.name, *rule.bounds) for rule in NUMBERS}
    lots = form.optional_number("lots_per_unit", *RULES["lots_per_unit"].bounds)
    passback = form.choice("anti_passback", labels.PASSBACK)
    matching = form.choice("plate_matching", labels.MATCHING)
    if not form.errors:
        try:
            async with visit.acting() as connection:
                present = await rules.lock(connection, identity)
                preconditions.check(visit, present)
                wanted = msgspec.convert(
                    {
                        **numbers,
                        "lots_per_unit": lots,
                        "anti_passback": passback,
                        "plate_matching": matching,
                        "exit_is_free": form.ticked("exit_is_free"),
                        "residents_open_gates": form.ticked("residents_open_gates"),
                        "visitors_open_gates": form.ticked("visitors_open_gates"),
                        "visitor_codes": form.ticked("visitor_codes"),
                        "accessible_needs_permit": form.ticked("accessible_needs_permit"),
                    },
                    Rules,
                )
                await rules.change(connection, visit.principal, identity, present, wanted)
            return visit.go(f"{visit.base}/gates", done="saved")
        except Problem as problem:
            preconditions.refused(visit, problem)
    return await show(visit)


async def save_gate(visit: Visit) -> Response:
    """Add a gate, or give one another title and direction."""
    form, identity = visit.form, visit.member.community_id
    name, title = names.short_name(form, "gate_name"), form.text("gate_title", most=120)
    chosen = form.choice("gate_direction", words.DIRECTION)
    if not form.errors:
        try:
            async with visit.acting() as connection:
                exists = bool(form.value("gate_exists"))
                present = await gates.get(connection, identity, name, lock=True) if exists else None
                if present:
                    preconditions.check(visit, present, GATE_SEEN)
                lanes = msgspec.to_builtins(present.lanes) if present else []
                wanted = msgspec.convert(
                    {"name": name, "title": title, "direction": chosen, "lanes": lanes}, gates.Gate
                )
                await (gates.change if present else gates.create)(connection, visit.principal, identity, wanted)
            return visit.go(f"{visit.base}/gates", done="saved")
        except Problem as problem:
            preconditions.refused(visit, problem, "gate_name")
    return await show(visit)


async def delete_gate(visit: Visit) -> Response:
    identity, name = visit.member.community_id, visit.path("gate")
    async with visit.acting() as connection:
        await gates.get(connection, identity, name, lock=True)
        await gates.delete(connection, visit.principal, identity, name)
    return visit.go(f"{visit.base}/gates", done="removed")


async def show_gate(visit: Visit, chosen: str = "") -> Response:
    """Show a gate with its lanes; ``chosen``, or ``lane`` in the address, names the lane that the form changes."""
    async with visit.reading() as connection:
        gate = await gates.get(connection, visit.member.community_id, visit.path("gate"))
    chosen = chosen or visit.query("lane")
    return render(
        visit,
        "gate.html",
        gate=gate,
        chosen=next((lane for lane in gate.lanes if lane.name == chosen), None),
        seen=preconditions.mark(gate),
        ways=_ways(gate),
        full=len(gate.lanes) >= gates.MAX_LANES,
        most=gates.MAX_CAMERAS,
    )


def _ways(gate: gates.Gate) -> tuple[gates.Direction, ...]:
    """Return the directions that a lane of the gate may have."""
    return ("entry", "exit") if gate.direction == "both" else (gate.direction,)


async def save_lane(visit: Visit) -> Response:
    """Add a lane to a gate; or change the lane that ``lane_was`` names, which may get another name."""
    form, identity, _ = visit.form, visit.member.community_id, visit.language.gettext
    name, cameras = names.short_name(form, "lane_name"), form.value("cameras").replace(",", " ").lower().split()
    for camera in cameras:
        names.check(form, "cameras", camera)
    if len(cameras) > gates.MAX_CAMERAS or len(set(cameras)) < len(cameras):
        form.wrong("cameras", _("At most %(most)s cameras, each once.", most=gates.MAX_CAMERAS))
    was = form.value("lane_was")
    try:
        async with visit.acting() as connection:
            gate = await gates.get(connection, identity, visit.path("gate"), lock=True)
            chosen = form.choice("lane_direction", _ways(gate))
            if was and not form.errors:
                preconditions.check(visit, gate)
            kept = [lane for lane in gate.lanes if lane.name != was]
            if was and len(kept) == len(gate.lanes):
                raise problems.not_found()
            if any(lane.name == name for lane in kept):
                form.wrong("lane_name", _("This name is taken already."))
            if len(kept) >= gates.MAX_LANES:
                form.wrong("", _("A gate has at most %(most)s lanes.", most=gates.MAX_LANES))
            if not form.errors:
                lane = gates.Lane(name, "exit" if chosen == "exit" else "entry", cameras)
                await _set_lanes(visit, connection, gate, [*kept, lane])
                return visit.go(_gate(visit), done="saved")
    except Problem as problem:
        preconditions.refused(visit, problem)
    return await show_gate(visit, was)


async def delete_lane(visit: Visit) -> Response:
    async with visit.acting() as connection:
        gate = await gates.get(connection, visit.member.community_id, visit.path("gate"), lock=True)
        kept = [lane for lane in gate.lanes if lane.name != visit.path("lane")]
        if len(kept) == len(gate.lanes):
            raise problems.not_found()
        await _set_lanes(visit, connection, gate, kept)
    return visit.go(_gate(visit), done="removed")


async def _set_lanes(visit: Visit, connection: Connection, gate: gates.Gate, lanes: list[gates.Lane]) -> None:
    wanted = dataclasses.replace(gate, lanes=sorted(lanes, key=lambda lane: lane.name))
    await gates.change(connection, visit.principal, visit.member.community_id, wanted)


def _gate(visit: Visit) -> str:
    return f"{visit.base}/gates/{quote(visit.path('gate'))}"


async def correct(visit: Visit) -> Response:
    """Say where a car is, whatever the gates saw."""
    form, identity = visit.form, visit.member.community_id
    plate = form.plate()
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


async def correct_counter(visit: Visit) -> Response:
    """Say how many vehicles are in, whatever was counted."""
    form, identity = visit.form, visit.member.community_id
    name = names.short_name(form, "counter")
    vehicles = form.number("vehicles", 0, counters.MOST)
    reason = form.text("counter_reason", least=MIN_REASON, most=MAX_REASON)
    if not form.errors:
        try:
            async with visit.acting() as connection:
                await counters.lock(connection, identity, name)
                await counters.correct(connection, visit.principal, identity, name, vehicles, reason)
            return visit.go(f"{visit.base}/gates", done="corrected")
        except Problem as problem:
            form.refused(problem, "vehicles")
    return await show(visit)


async def renew_code_key(visit: Visit) -> Response:
    """Put a new key in the place of the one that the form showed."""
    identity = visit.member.community_id
    try:
        async with visit.acting() as connection:
            key = await pass_codes.key(connection, identity, lock=True)
            if key is None:
                raise problems.not_found()
            preconditions.check(visit, key.number, CODE_KEY_SEEN)
            await pass_codes.renew_key(connection, visit.principal, identity, key)
        return visit.go(f"{visit.base}/gates", done="code-key-renewed")
    except Problem as problem:
        preconditions.refused(visit, problem)
    return await show(visit)


_GATES = "/communities/{community}/gates"
ROUTES = [
    page(_GATES, Access.STAFF, show),
    action(f"{_GATES}/save", Access.STAFF, save_gate),
    page(f"{_GATES}/{{gate}}", Access.STAFF, show_gate),
    action(f"{_GATES}/{{gate}}/delete", Access.STAFF, asked("delete-gate", delete_gate)),
    action(f"{_GATES}/{{gate}}/lanes", Access.STAFF, save_lane),
    action(f"{_GATES}/{{gate}}/lanes/{{lane}}/delete", Access.STAFF, asked("remove-lane", delete_lane)),
    action("/communities/{community}/rules", Access.STAFF, change_rules),
    action("/communities/{community}/presence", Access.STAFF, correct),
    action("/communities/{community}/counters", Access.STAFF, correct_counter),
    action("/communities/{community}/code-key", Access.STAFF, asked("renew-code-key", renew_code_key)),
]
