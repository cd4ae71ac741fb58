"""The operator's desk: the health of all gateways, communities taken on, offboarded and deleted."""

from datetime import datetime
from typing import Annotated, Literal

from fastapi import APIRouter, Query, Request, Response
from pydantic import BaseModel, Field

from parkmesh.server.communities import desk
from parkmesh.server.db import database
from parkmesh.server.db.database import OUTSIDE, Connection
from parkmesh.server.http import problems
from parkmesh.server.http.problems import Problem
from parkmesh.server.identity.principals import Membership, Role
from parkmesh.server.outbox import messages
from parkmesh.server.web.answers import answers
from parkmesh.server.web.api import creating
from parkmesh.server.web.api.caller import Member, Operator, SignedIn
from parkmesh.server.web.api.creating import Made
from parkmesh.server.web.fields import PRINTABLE, Body, IdInPath, Name, Reason, Text, Title, Word
from parkmesh.server.web.paging import Page

router = APIRouter(tags=["desk"])
in_community = APIRouter(tags=["desk"])

Search = Annotated[
    str | None,
    Query(alias="q", min_length=1, max_length=60, pattern=PRINTABLE, description="Text in names or titles."),
]


class GatewaysHealth(BaseModel):
    items: list[desk.GatewayHealth]
    next: str | None


class FirstGate(Body):
    name: Name
    title: Title | None = None
    direction: Literal["entry", "exit", "both"] = "both"


class FirstSpace(Body):
    name: Name
    level: Annotated[Text, Field(max_length=60)] = ""
    category: Word = "shared"


class FirstGateway(Body):
    """``token_sha256`` is the SHA-256 of a token made on the gateway; without it the answer contains a new token."""

    name: Name
    token_sha256: Annotated[str, Field(pattern=r"^[0-9a-fA-F]{64}$")] | None = None


class NewCommunity(Body):
    """``time_zone`` is a name of the IANA database, ``language`` that of messages to people who haven't chosen one."""

    name: Name
    title: Title
    time_zone: Word
    language: Literal["en", "es"] = "en"
    gates: Annotated[list[FirstGate], Field(max_length=100)] = []
    spaces: Annotated[list[FirstSpace], Field(max_length=2000)] = []
    gateways: Annotated[list[FirstGateway], Field(max_length=20)] = []


class CreatedCommunity(BaseModel):
    """``gateway_tokens``: new tokens by gateway name. Only the first answer shows them; a repeated answer has null."""

    name: str
    title: str
    time_zone: str
    gateway_tokens: dict[str, str] | None


class DeadMessages(BaseModel):
    items: list[messages.DeadMessage]
    next: str | None


class Offboarding(Body):
    reason: Reason


class OffboardedCommunity(BaseModel):
    """``gateways_until``: when the gateways' tokens end; until then gateways online get the emptied access list."""

    name: str
    offboarded_at: datetime
    gateways_until: datetime


class CommunityToDelete(BaseModel):
    """``deletion_due``: the first run of retention after it deletes the community; until then it can be kept."""

    name: str
    deletion_due: datetime


@router.get("/desk/summary", responses=answers(404))
async def show_summary(request: Request, operator: Operator) -> desk.Summary:
    """Count communities, and gateways by state."""
    async with database.at_desk(request.app.state.pool) as connection:
        return await desk.summary(connection)


@router.get("/desk/gateways", responses=answers(404))
async def list_gateways_health(
    request: Request,
    operator: Operator,
    page: Page,
    state: Annotated[desk.State | Literal["ok"] | None, Query(description="Only gateways in this state.")] = None,
    search: Search = None,
) -> GatewaysHealth:
    """List the gateways of all communities with their health, ordered by community and name."""
    after = page.after(str, str)
    async with database.at_desk(request.app.state.pool) as connection:
        found = await desk.gateways(
            connection, limit=page.fetch, after=after and (after[0], after[1]), state=state, search=search
        )
    items, following = page.cut(found, lambda gateway: (gateway.community, gateway.name))
    return GatewaysHealth(items=items, next=following)


@router.get("/desk/messages", responses=answers(404))
async def list_dead_messages(request: Request, operator: Operator, page: Page) -> DeadMessages:
    """List messages that could not be sent and were given up, the latest first."""
    after = page.after(int)
    found = await messages.dead(request.app.state.pool, limit=page.fetch, after=after[0] if after else None)
    items, following = page.cut(found, lambda message: (message.id,))
    return DeadMessages(items=items, next=following)


@router.post("/desk/messages/{message}/send-again", status_code=202, responses=answers(404))
async def send_message_again(request: Request, operator: Operator, message: IdInPath) -> Response:
    """Send a message again that was given up. 404 for one that isn't repeatable, too."""
    if not await messages.send_again(request.app.state.pool, message):
        raise problems.not_found()
    return Response(status_code=202)


@router.post("/communities", **creating.documented(CreatedCommunity, 404, 409, changeable=False))
async def create_community(request: Request, operator: Operator, body: NewCommunity) -> Response:
    """Take on a community with its gates, spaces and gateways. Invite its administrators afterwards."""
    wish = desk.checked(body.model_dump(exclude_none=True))

    async def make(connection: Connection) -> Made:
        tokens = await desk.onboard(connection, operator, wish)
        made = CreatedCommunity(name=body.name, title=body.title, time_zone=body.time_zone, gateway_tokens=tokens)
        return Made(made, body.name, changeable=False, secret={"gateway_tokens"})

    async with database.acquired(request.app.state.pool) as connection, database.provisioning(connection):
        return await creating.within(connection, request, operator, OUTSIDE, body, make)


@in_community.post("/offboard", responses=answers(403))
async def offboard_community(
    request: Request, principal: SignedIn, member: Member, body: Offboarding
) -> OffboardedCommunity:
    """Offboard a community: from now on only the desk has access, and every gateway that is online gets an empty access
    list. The community's data stays until its deletion. A second request changes nothing."""
    _operators(member)
    async with database.acquired(request.app.state.pool) as connection, database.provisioning(connection):
        done = await desk.offboard(connection, principal, member.community_id, body.reason)
    return OffboardedCommunity(
        name=member.community, offboarded_at=done.offboarded_at, gateways_until=done.gateways_until
    )


@in_community.delete("", status_code=202, responses=answers(403, 409))
async def delete_community(request: Request, principal: SignedIn, member: Member) -> CommunityToDelete:
    """Ask for the deletion of an offboarded community and its data, after 7 days in which it can still be kept. A
    second request changes nothing; after the deletion it answers 404."""
    _operators(member)
    async with database.acquired(request.app.state.pool) as connection, database.provisioning(connection):
        due = await desk.delete_community(connection, principal, member.community_id)
    return CommunityToDelete(name=member.community, deletion_due=due)


@in_community.post("/keep", status_code=204, responses=answers(403, 409))
async def keep_community(request: Request, principal: SignedIn, member: Member) -> None:
    """Withdraw the deletion of a community before it is due. The community stays offboarded."""
    _operators(member)
    async with database.acquired(request.app.state.pool) as connection, database.provisioning(connection):
        await desk.keep_community(connection, principal, member.community_id)


def _operators(member: Membership) -> None:
    if member.role is not Role.OPERATOR:
        raise Problem(403, "Only the operator's desk may let a community go.")
