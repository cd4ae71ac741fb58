"""Gates and their lanes, opening a gate by hand, and what a gateway would decide."""

from collections.abc import Callable
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Path, Query, Request, Response
from pydantic import BaseModel, Field, field_validator

from parkmesh.domain import plates
from parkmesh.server.access import gate_commands, gates
from parkmesh.server.db import database
from parkmesh.server.db.database import Connection
from parkmesh.server.http import problems
from parkmesh.server.web import paging, preconditions
from parkmesh.server.web.answers import answers
from parkmesh.server.web.api import creating
from parkmesh.server.web.api.caller import Member, SignedIn, Staff
from parkmesh.server.web.api.creating import Made
from parkmesh.server.web.api.whole_and_part import merged, part, whole
from parkmesh.server.web.fields import Body, Name, Plate, Reason, Title

in_community = APIRouter(tags=["gates"])

NameInPath = Annotated[str, Path(max_length=63)]


class Gates(BaseModel):
    items: list[gates.Gate]
    next: str | None


class LaneBody(Body):
    """``cameras`` are names of cameras in the gateway's configuration."""

    name: Name
    direction: Literal["entry", "exit"]
    cameras: list[Name] = Field(default=[], max_length=gates.MAX_CAMERAS)


class GateBody(Body):
    title: Title
    direction: Literal["entry", "exit", "both"]
    lanes: list[LaneBody] = Field(default=[], max_length=gates.MAX_LANES)

    @field_validator("lanes")
    @classmethod
    def _once(cls, lanes: list[LaneBody]) -> list[LaneBody]:
        if len({lane.name for lane in lanes}) < len(lanes):
            raise ValueError("two lanes have one name")
        return lanes

    def gate(self, name: str) -> gates.Gate:
        lanes = [gates.Lane(lane.name, lane.direction, lane.cameras) for lane in self.lanes]
        return gates.Gate(name, self.title, self.direction, sorted(lanes, key=lambda lane: lane.name))


class NewGate(GateBody):
    name: Name


_WholeGate: Any = whole(GateBody, "WholeGate")
_GateChange: Any = part(GateBody, "GateChange")


class WholeGate(_WholeGate):  # type: ignore[misc]  # its base is made at run time
    """All fields of a gate but its name."""


class GateChange(_GateChange):  # type: ignore[misc]  # as above
    """The fields of a gate that change. ``lanes`` are all lanes."""


class OpenRequest(Body):
    """Staff give a reason; residents may give one."""

    reason: Reason | None = None


class Foretold(BaseModel):
    """``reason`` has the values that passages have."""

    plate: str | None
    decision: Literal["granted", "denied"]
    reason: str


@in_community.get("/gates")
async def list_gates(request: Request, member: Member, page: paging.Page) -> Gates:
    """List the community's gates by name."""
    async with database.in_community(request.app.state.pool, member.community_id, read_only=True) as connection:
        after = page.after(str)
        found = await gates.page(connection, member.community_id, limit=page.fetch, after=after[0] if after else None)
    items, following = page.cut(found, lambda gate: (gate.name,))
    return Gates(items=items, next=following)


@in_community.post("/gates", **creating.documented(gates.Gate, 403, 409))
async def create_gate(request: Request, principal: SignedIn, member: Staff, body: NewGate) -> Response:
    """Add a gate. A gateway opens the gate if the gateway's configuration has a gate of this name."""

    async def make(connection: Connection) -> Made:
        made = await gates.create(connection, principal, member.community_id, body.gate(body.name))
        return Made(made, made.name)

    return await creating.in_community(request, principal, member, body, make)


@in_community.get("/gates/{gate}", responses=preconditions.READ)
async def get_gate(request: Request, response: Response, member: Member, gate: NameInPath) -> gates.Gate:
    """Read a gate."""
    async with database.in_community(request.app.state.pool, member.community_id, read_only=True) as connection:
        found = await gates.get(connection, member.community_id, _storable(gate))
    preconditions.tag(response, found)
    return found


@in_community.put("/gates/{gate}", **preconditions.changing(403))
async def change_gate(
    request: Request, response: Response, principal: SignedIn, member: Staff, gate: NameInPath, body: WholeGate
) -> gates.Gate:
    """Set a gate's title, direction and lanes."""
    return await _change(request, response, principal, member, gate, lambda _: body)


@in_community.patch("/gates/{gate}", **preconditions.changing(403))
async def patch_gate(
    request: Request, response: Response, principal: SignedIn, member: Staff, gate: NameInPath, body: GateChange
) -> gates.Gate:
    """Change some fields of a gate; the others stay as they are."""
    return await _change(request, response, principal, member, gate, lambda present: merged(WholeGate, present, body))


async def _change(
    request: Request,
    response: Response,
    principal: SignedIn,
    member: Staff,
    gate: str,
    wanted: Callable[[gates.Gate], GateBody],
) -> gates.Gate:
    async with database.in_community(request.app.state.pool, member.community_id) as connection:
        present = await gates.get(connection, member.community_id, _storable(gate), lock=True)
        preconditions.check(request, present)
        changed = await gates.change(connection, principal, member.community_id, wanted(present).gate(present.name))
    preconditions.tag(response, changed)
    return changed


@in_community.delete("/gates/{gate}", **preconditions.deleting(403))
async def delete_gate(request: Request, principal: SignedIn, member: Staff, gate: NameInPath) -> Response:
    """Delete a gate. Its passages stay."""
    async with database.in_community(request.app.state.pool, member.community_id) as connection:
        present = await gates.get(connection, member.community_id, _storable(gate), lock=True)
        preconditions.check(request, present)
        await gates.delete(connection, principal, member.community_id, present.name)
    return Response(status_code=204)


@in_community.post("/gates/{gate}/open", status_code=202, responses=answers(403, 409, 429))
async def open_gate(
    request: Request, response: Response, principal: SignedIn, member: Member, gate: NameInPath, body: OpenRequest
) -> gate_commands.GateCommand:
    """Open a gate now: staff with a reason, residents where the community's rules let them.

    The command goes to the gateways of the gate that are connected now, and expires after 10 s. `Location` names the
    command: read it to learn whether the gate opened. While no gateway of the gate is connected, the answer is 409
    (`gateway-offline`), and nothing is sent.
    """
    asked = await gate_commands.open_gate(request.app.state.pool, principal, member, _storable(gate), body.reason)
    response.headers["Location"] = f"{request.url.path.removesuffix('/open')}/commands/{asked.id}"
    return asked


@in_community.get("/gates/{gate}/commands/{command}")
async def get_gate_command(
    request: Request, principal: SignedIn, member: Member, gate: NameInPath, command: NameInPath
) -> gate_commands.GateCommand:
    """Read a command that opened a gate, and its outcome. Residents read their own."""
    async with database.in_community(request.app.state.pool, member.community_id, read_only=True) as connection:
        found = await gate_commands.read_as(connection, principal, member, _storable(command))
    if found.gate != gate:
        raise problems.not_found()
    return found


@in_community.get("/gates/{gate}/decision", responses=answers(403))
async def predict_decision(
    request: Request,
    member: Staff,
    gate: NameInPath,
    plate: Annotated[Plate, Query()],
    direction: Annotated[
        Literal["entry", "exit"] | None, Query(description="Required at a gate for both directions.")
    ] = None,
) -> Foretold:
    """Say what the gateway would decide now on a plate at a gate, by the function that gateways use."""
    async with database.in_community(request.app.state.pool, member.community_id, read_only=True) as connection:
        found = await gates.get(connection, member.community_id, _storable(gate))
        way: Literal["entry", "exit"] = direction or ("exit" if found.direction == "exit" else "entry")
        normal = plates.normalise(plate)
        decision = await gates.predict(connection, member.community_id, normal, way)
    return Foretold(plate=normal, decision=decision.outcome, reason=decision.reason.value)


def _storable(name: str) -> str:
    """Return a name that may be asked for; raise ``Problem`` 404 for one that no gate can have."""
    if "\x00" in name:
        raise problems.not_found()
    return name
