"""Communities with their gates, spaces and gateways."""

from datetime import UTC, datetime
from typing import Literal

from fastapi import APIRouter, Request
from pydantic import BaseModel, ConfigDict, Field

from parkmesh.server import database, operations, problems, reads
from parkmesh.server.principals import Role
from parkmesh.server.problems import Problem
from parkmesh.server.web.api.common import Body, Member, SignedIn, Staff, answers

router = APIRouter(tags=["communities"])
in_community = APIRouter(tags=["communities"])


class CommunitySummary(BaseModel):
    name: str
    title: str
    time_zone: str
    role: Role


class Communities(BaseModel):
    items: list[CommunitySummary]


class Gate(BaseModel):
    model_config = ConfigDict(from_attributes=True)

    name: str
    title: str
    direction: Literal["entry", "exit", "both"]


class Gates(BaseModel):
    items: list[Gate]


class Space(BaseModel):
    model_config = ConfigDict(from_attributes=True)

    name: str
    level: str
    category: str
    status: Literal["free", "occupied", "unknown"]
    since: datetime | None


class Spaces(BaseModel):
    items: list[Space]


class Gateway(BaseModel):
    model_config = ConfigDict(from_attributes=True)

    name: str
    online: bool
    last_heartbeat_at: datetime | None
    last_events_at: datetime | None
    version: str | None
    backlog: int | None
    clock_skew_ms: int | None
    access_list_version: int | None
    newest_access_list_version: int
    silent_cameras: list[str]
    unknown_gates: int
    unknown_spaces: int
    dropped: int


class Gateways(BaseModel):
    items: list[Gateway]


class OpenRequest(Body):
    reason: str = Field(min_length=3, max_length=200, pattern=r"^[^\x00-\x1f]*$")


class OpenCommand(BaseModel):
    """``expires``: a gateway that has not acted by then never will."""

    id: str
    gate: str
    expires: datetime


@router.get("/communities")
async def list_communities(request: Request, principal: SignedIn) -> Communities:
    """List the communities that the user may see."""
    pool = request.app.state.pool
    if principal.operator:
        async with database.at_desk(pool) as connection:
            seen = [(item, Role.OPERATOR) for item in await reads.communities(connection)]
    else:
        seen = []
        for member in principal.memberships.values():
            async with database.in_community(pool, member.community_id, read_only=True) as connection:
                seen.append((await reads.community(connection, member.community_id), member.role))
    return Communities(
        items=[
            CommunitySummary(name=item.name, title=item.title, time_zone=item.time_zone, role=role)
            for item, role in seen
        ]
    )


@in_community.get("/gates")
async def list_gates(request: Request, member: Member) -> Gates:
    """List the community's gates."""
    async with database.in_community(request.app.state.pool, member.community_id, read_only=True) as connection:
        return Gates(items=[Gate.model_validate(gate) for gate in await reads.gates(connection, member.community_id)])


@in_community.get("/spaces")
async def list_spaces(request: Request, member: Member) -> Spaces:
    """List the community's spaces with their states."""
    async with database.in_community(request.app.state.pool, member.community_id, read_only=True) as connection:
        found = await reads.spaces(connection, member.community_id)
    return Spaces(items=[Space.model_validate(space) for space in found])


@in_community.get("/gateways", responses=answers(403))
async def list_gateways(request: Request, member: Staff) -> Gateways:
    """List the community's gateways with their health."""
    async with database.in_community(request.app.state.pool, member.community_id, read_only=True) as connection:
        found = await reads.gateways(connection, member.community_id)
    return Gateways(items=[Gateway.model_validate(gateway) for _, gateway in found])


@in_community.post("/gates/{gate}/open", status_code=202, responses=answers(403))
async def open_gate(request: Request, principal: SignedIn, member: Member, gate: str, body: OpenRequest) -> OpenCommand:
    """Open a gate from the desk. The command goes to gateways that are connected now, and lives for 10 s."""
    if member.role is not Role.OPERATOR:
        raise Problem(403, "Only the operator's desk may open a gate from here.")
    command = await operations.open_gate(request.app.state.pool, principal, member.community_id, gate, body.reason)
    if command is None:
        raise problems.not_found()
    return OpenCommand(id=command.id, gate=command.gate, expires=datetime.fromtimestamp(command.expires / 1000, UTC))
