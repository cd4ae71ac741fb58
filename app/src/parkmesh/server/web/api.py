"""The REST API, version 1. Its document is at ``/api/v1/openapi.json``."""

import base64
import binascii
import struct
from datetime import UTC, datetime, timedelta
from http import HTTPStatus
from typing import Annotated, Literal

from fastapi import APIRouter, Depends, Query, Request, Response
from pydantic import BaseModel, ConfigDict, Field

from parkmesh.domain import plates
from parkmesh.server import database, operations, principals, problems, reads
from parkmesh.server.principals import Membership, Principal, Role
from parkmesh.server.problems import Problem
from parkmesh.server.web import people, security

PAGE = 50
MAX_PAGE = 200
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Body(BaseModel):
    """A body that a client sends: unknown members are an error."""

    model_config = ConfigDict(extra="forbid")


class ProblemDetails(BaseModel):
    """RFC 9457."""

    type: str
    title: str
    status: int
    detail: str


class Credentials(Body):
    email: str = Field(max_length=254)
    password: str = Field(max_length=1024)


class Session(BaseModel):
    """``token`` goes into ``Authorization: Bearer``."""

    token: str


class CurrentUser(BaseModel):
    """``csrf_token`` goes into the header ``X-CSRF-Token`` of requests that change something and carry a cookie."""

    email: str
    name: str
    role: Role | None = Field(description="operator, or null where the role depends on the community")
    csrf_token: str


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


class Passage(BaseModel):
    model_config = ConfigDict(from_attributes=True)

    id: int
    received_at: datetime
    gate: str
    direction: str
    plate: str
    decision: Literal["granted", "denied"]
    reason: str
    opened: bool | None
    gateway: str


class Passages(BaseModel):
    """``next`` is the ``cursor`` of the page that follows, null at the end."""

    items: list[Passage]
    next: str | None


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


class Credential(BaseModel):
    model_config = ConfigDict(from_attributes=True)

    plate: str
    status: Literal["active", "revoked"]
    resident: str | None
    unit: str | None
    valid_from: datetime | None
    valid_until: datetime | None


class CredentialList(BaseModel):
    items: list[Credential]


class CredentialStatus(Body):
    status: Literal["active", "revoked"]


class CredentialState(BaseModel):
    plate: str
    status: Literal["active", "revoked"]


class OpenRequest(Body):
    reason: str = Field(min_length=3, max_length=200, pattern=r"^[^\x00-\x1f]*$")


class OpenCommand(BaseModel):
    """``expires``: a gateway that has not acted by then never will."""

    id: str
    gate: str
    expires: datetime


def _answers(*statuses: int) -> dict[int | str, dict[str, object]]:
    schema = ProblemDetails.model_json_schema()
    return {
        status: {"description": HTTPStatus(status).phrase, "content": {problems.MEDIA_TYPE: {"schema": schema}}}
        for status in statuses
    }


router = APIRouter(prefix="/api/v1", responses=_answers(400, 401, 413, 422, 503))
in_community = APIRouter(prefix="/communities/{community}", responses=_answers(404))

SignedIn = Annotated[Principal, Depends(people.required)]


async def _member(request: Request, principal: SignedIn, community: str) -> Membership:
    return await principal.membership(request.app.state.pool, community)


async def _staff(member: Annotated[Membership, Depends(_member)]) -> Membership:
    if member.role is Role.RESIDENT:
        raise Problem(403, "Only the community's administrators and the operator's desk may do this.")
    return member


Member = Annotated[Membership, Depends(_member)]
Staff = Annotated[Membership, Depends(_staff)]


@router.post("/sessions", status_code=201, responses=_answers(429), tags=["sessions"])
async def create_session(request: Request, body: Credentials) -> Session:
    """Sign in and get a token."""
    state = request.app.state
    address = security.client_address(request, state.settings)
    token = await principals.sign_in(state.pool, body.email, body.password, address)
    if token is None:
        raise Problem(401, "E-mail and password don't belong together.", kind="sign-in")
    return Session(token=token)


@router.get("/sessions/current", tags=["sessions"])
async def current_session(request: Request, principal: SignedIn) -> CurrentUser:
    """Say who is signed in."""
    return CurrentUser(
        email=principal.email,
        name=principal.name,
        role=Role.OPERATOR if principal.operator else None,
        csrf_token=security.csrf_token(request.app.state.settings, principal.session),
    )


@router.delete("/sessions/current", status_code=204, responses=_answers(403), tags=["sessions"])
async def end_session(request: Request, principal: SignedIn) -> Response:
    """Sign out: the token is worthless from now on."""
    await principals.sign_out(request.app.state.pool, principal.session)
    return Response(status_code=204)


@router.get("/communities", tags=["communities"])
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


@in_community.get("/gates", tags=["communities"])
async def list_gates(request: Request, member: Member) -> Gates:
    """List the community's gates."""
    async with database.in_community(request.app.state.pool, member.community_id, read_only=True) as connection:
        return Gates(items=[Gate.model_validate(gate) for gate in await reads.gates(connection, member.community_id)])


@in_community.get("/spaces", tags=["communities"])
async def list_spaces(request: Request, member: Member) -> Spaces:
    """List the community's spaces with their states."""
    async with database.in_community(request.app.state.pool, member.community_id, read_only=True) as connection:
        found = await reads.spaces(connection, member.community_id)
    return Spaces(items=[Space.model_validate(space) for space in found])


@in_community.get("/passages", tags=["communities"])
async def list_passages(
    request: Request,
    member: Member,
    limit: Annotated[int, Query(ge=1, le=MAX_PAGE)] = PAGE,
    cursor: Annotated[str | None, Query(max_length=64)] = None,
) -> Passages:
    """List passages, latest first. Residents see those of their own plates."""
    before = decode_cursor(cursor) if cursor else None
    async with database.in_community(request.app.state.pool, member.community_id, read_only=True) as connection:
        own = (
            await reads.plates_of(connection, member.community_id, member.resident_id)
            if member.role is Role.RESIDENT
            else None
        )
        found = await reads.passages(connection, member.community_id, limit=limit + 1, before=before, plates=own)
    page = found[:limit]
    more = len(found) > limit
    return Passages(
        items=[Passage.model_validate(passage) for passage in page],
        next=encode_cursor(page[-1].received_at, page[-1].id) if more else None,
    )


@in_community.get("/gateways", responses=_answers(403), tags=["communities"])
async def list_gateways(request: Request, member: Staff) -> Gateways:
    """List the community's gateways with their health."""
    async with database.in_community(request.app.state.pool, member.community_id, read_only=True) as connection:
        found = await reads.gateways(connection, member.community_id)
    return Gateways(items=[Gateway.model_validate(gateway) for _, gateway in found])


@in_community.get("/credentials", responses=_answers(403), tags=["credentials"])
async def list_credentials(request: Request, member: Staff) -> CredentialList:
    """List the community's plates."""
    async with database.in_community(request.app.state.pool, member.community_id, read_only=True) as connection:
        found = await reads.credentials(connection, member.community_id)
    return CredentialList(items=[Credential.model_validate(credential) for credential in found])


@in_community.put("/credentials/{plate}", responses=_answers(403), tags=["credentials"])
async def put_credential(
    request: Request, principal: SignedIn, member: Staff, plate: str, body: CredentialStatus
) -> CredentialState:
    """Revoke a plate or restore it. Gateways that are online know within seconds."""
    normal = plates.normalise(plate)
    pool = request.app.state.pool
    if normal is None or not await operations.set_credential_status(
        pool, principal, member.community_id, normal, body.status
    ):
        raise problems.not_found()
    return CredentialState(plate=normal, status=body.status)


@in_community.post("/gates/{gate}/open", status_code=202, responses=_answers(403), tags=["communities"])
async def open_gate(request: Request, principal: SignedIn, member: Member, gate: str, body: OpenRequest) -> OpenCommand:
    """Open a gate from the desk. The command goes to gateways that are connected now, and lives for 10 s."""
    if member.role is not Role.OPERATOR:
        raise Problem(403, "Only the operator's desk may open a gate from here.")
    command = await operations.open_gate(request.app.state.pool, principal, member.community_id, gate, body.reason)
    if command is None:
        raise problems.not_found()
    return OpenCommand(id=command.id, gate=command.gate, expires=datetime.fromtimestamp(command.expires / 1000, UTC))


def encode_cursor(received_at: datetime, passage_id: int) -> str:
    """Return the opaque place of a passage in the list."""
    micros = (received_at - _EPOCH) // timedelta(microseconds=1)
    return base64.urlsafe_b64encode(struct.pack(">qq", micros, passage_id)).decode().rstrip("=")


def decode_cursor(text: str) -> tuple[datetime, int]:
    """Return the place that ``encode_cursor`` wrote; raise ``Problem`` 422 for any other text."""
    try:
        micros, passage_id = struct.unpack(">qq", base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)))
        return _EPOCH + timedelta(microseconds=micros), passage_id
    except (binascii.Error, struct.error, ValueError, OverflowError):
        raise Problem(422, "cursor: not one of ours", kind="invalid") from None


router.include_router(in_community)
