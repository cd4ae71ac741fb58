"""The operator's desk: the health of all gateways, communities taken on and let go."""

from datetime import datetime
from typing import Annotated, Literal

from fastapi import APIRouter, Query, Request, Response
from pydantic import BaseModel, ConfigDict, Field

from parkmesh.server import database, desk
from parkmesh.server.database import OUTSIDE
from parkmesh.server.principals import Role
from parkmesh.server.problems import Problem
from parkmesh.server.web.api import idempotency
from parkmesh.server.web.api.common import Body, Member, Operator, SignedIn, Text, answers
from parkmesh.server.web.api.paging import Page

router = APIRouter(tags=["desk"])
in_community = APIRouter(tags=["desk"])

State = Literal["offline", "behind", "outdated", "skewed", "silent"]
Name = Annotated[str, Field(min_length=1, max_length=63, pattern=r"^[a-z0-9]([a-z0-9-]*[a-z0-9])?$")]
Title = Annotated[Text, Field(min_length=1, max_length=120)]
Word = Annotated[Text, Field(min_length=1, max_length=60)]
Search = Annotated[
    str | None,
    Query(alias="q", min_length=1, max_length=60, pattern=r"^[^\x00-\x1f\x7f]*$", description="Text within."),
]


class GatewayHealth(BaseModel):
    """``states`` is empty for a gateway with which nothing is wrong; ``outdated``: it holds an older access list.

    The counts are since the gateway exists.
    """

    model_config = ConfigDict(from_attributes=True)

    community: str
    community_title: str
    name: str
    states: list[State]
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


class GatewaysHealth(BaseModel):
    items: list[GatewayHealth]
    next: str | None


class Summary(BaseModel):
    """``states`` counts gateways; one in several states is in the count of each."""

    model_config = ConfigDict(from_attributes=True)

    communities: int
    gateways: int
    ok: int
    states: dict[State, int]


class FirstGate(Body):
    name: Name
    title: Title | None = None
    direction: Literal["entry", "exit", "both"] = "both"


class FirstSpace(Body):
    name: Name
    level: Annotated[Text, Field(max_length=60)] = ""
    category: Word = "shared"


class FirstGateway(Body):
    """``token_sha256`` is the SHA-256 of a token made on the gateway; without it the answer holds a new token."""

    name: Name
    token_sha256: Annotated[str, Field(pattern=r"^[0-9a-fA-F]{64}$")] | None = None


class NewCommunity(Body):
    """``time_zone`` is a name of the IANA database."""

    name: Name
    title: Title
    time_zone: Word
    gates: Annotated[list[FirstGate], Field(max_length=100)] = []
    spaces: Annotated[list[FirstSpace], Field(max_length=2000)] = []
    gateways: Annotated[list[FirstGateway], Field(max_length=20)] = []


class CreatedCommunity(BaseModel):
    """``gateway_tokens``: new tokens by the gateway's name, shown this once; null where the answer is given again."""

    name: str
    title: str
    time_zone: str
    gateway_tokens: dict[str, str] | None


class Offboarding(Body):
    reason: Annotated[Text, Field(min_length=3, max_length=200)]


class OffboardedCommunity(BaseModel):
    """``gateways_until``: when the tokens of the gateways end; until then those online take the emptied list."""

    name: str
    offboarded_at: datetime
    gateways_until: datetime


@router.get("/desk/summary", responses=answers(404))
async def show_summary(request: Request, operator: Operator) -> Summary:
    """Count communities, and gateways by their states."""
    async with database.at_desk(request.app.state.pool) as connection:
        return Summary.model_validate(await desk.summary(connection))


@router.get("/desk/gateways", responses=answers(404))
async def list_gateways_health(
    request: Request,
    operator: Operator,
    page: Page,
    state: Annotated[State | Literal["ok"] | None, Query(description="Only gateways in this state.")] = None,
    search: Search = None,
) -> GatewaysHealth:
    """List the gateways of all communities with their health, by community and name."""
    after = page.after(str, str)
    async with database.at_desk(request.app.state.pool) as connection:
        found = await desk.gateways(
            connection, limit=page.fetch, after=after and (after[0], after[1]), state=state, search=search
        )
    items, following = page.cut(found, lambda gateway: (gateway.community, gateway.name))
    return GatewaysHealth(items=[GatewayHealth.model_validate(item) for item in items], next=following)


@router.post(
    "/communities",
    status_code=201,
    response_model=CreatedCommunity,
    responses=answers(404, 409),
    dependencies=[idempotency.KEY],
)
async def create_community(request: Request, operator: Operator, body: NewCommunity) -> Response:
    """Take on a community with its gates, spaces and gateways. Its administrators are invited after it."""
    wish = desk.checked(body.model_dump(exclude_none=True))
    async with (
        request.app.state.pool.acquire(timeout=database.ACQUIRE_S) as connection,
        database.provisioning(connection),
    ):
        once = await idempotency.once(request, connection, operator, OUTSIDE, body)
        if once.answer is not None:
            return once.answer
        tokens = await desk.onboard(connection, operator, wish)
        created = CreatedCommunity(name=body.name, title=body.title, time_zone=body.time_zone, gateway_tokens=tokens)
        headers = {"Location": f"/api/v1/communities/{body.name}"}
        return await once.keep(201, created, headers, secret={"gateway_tokens"})


@in_community.post("/offboard", responses=answers(403))
async def offboard_community(
    request: Request, principal: SignedIn, member: Member, body: Offboarding
) -> OffboardedCommunity:
    """Let a community go: nobody but the desk has access from now on, its plates are revoked at every gateway that is
    online, and its data stays until it is due. A second time changes nothing."""
    if member.role is not Role.OPERATOR:
        raise Problem(403, "Only the operator's desk may let a community go.")
    async with (
        request.app.state.pool.acquire(timeout=database.ACQUIRE_S) as connection,
        database.provisioning(connection),
    ):
        done = await desk.offboard(connection, principal, member.community_id, body.reason)
    return OffboardedCommunity(
        name=member.community, offboarded_at=done.offboarded_at, gateways_until=done.gateways_until
    )
