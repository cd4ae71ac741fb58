"""Communities and their gateways."""

from datetime import datetime

import msgspec
from fastapi import APIRouter, Request
from pydantic import BaseModel

from parkmesh.server.communities import community_reads, desk
from parkmesh.server.db import database
from parkmesh.server.identity.principals import Role
from parkmesh.server.web.answers import answers
from parkmesh.server.web.api.caller import Member, SignedIn, Staff
from parkmesh.server.web.api.desk import Search
from parkmesh.server.web.paging import Page

router = APIRouter(tags=["communities"])
in_community = APIRouter(tags=["communities"])


class CommunitySummary(BaseModel):
    name: str
    title: str
    time_zone: str
    role: Role


class CommunityDetails(CommunitySummary):
    """``offboarded_at``: when the desk offboarded the community; since then only the desk sees it. ``deletion_due``:
    from when the community and its data may be deleted, null if they stay."""

    offboarded_at: datetime | None
    deletion_due: datetime | None


class Communities(BaseModel):
    items: list[CommunitySummary]
    next: str | None


class Gateways(BaseModel):
    items: list[community_reads.Gateway]


@router.get("/communities")
async def list_communities(request: Request, principal: SignedIn, page: Page, search: Search = None) -> Communities:
    """List the communities that the user may see, by name."""
    pool = request.app.state.pool
    after = page.after(str)
    if principal.operator:
        async with database.at_desk(pool) as connection:
            found = await desk.communities(
                connection, limit=page.fetch, after=after[0] if after else None, search=search
            )
        seen = [(item, Role.OPERATOR) for item in found]
    else:
        seen = []
        for member in sorted(principal.memberships.values(), key=lambda item: item.community):
            if (after and member.community <= after[0]) or len(seen) == page.fetch:
                continue
            async with database.in_community(pool, member.community_id, read_only=True) as connection:
                community = await community_reads.community(connection, member.community_id)
            if search is None or search.lower() in f"{community.name} {community.title}".lower():
                seen.append((community, member.role))
    items, following = page.cut(seen, lambda item: (item[0].name,))
    return Communities(
        items=[
            CommunitySummary(name=item.name, title=item.title, time_zone=item.time_zone, role=role)
            for item, role in items
        ],
        next=following,
    )


@router.get("/communities/{community}", responses=answers(404))
async def show_community(request: Request, member: Member) -> CommunityDetails:
    """Show the community and the caller's role in it."""
    async with database.in_community(request.app.state.pool, member.community_id, read_only=True) as connection:
        found = await desk.details(connection, member.community_id)
    return CommunityDetails.model_validate({**msgspec.structs.asdict(found), "role": member.role})


@in_community.get("/gateways", responses=answers(403))
async def list_gateways(request: Request, member: Staff) -> Gateways:
    """List the community's gateways with their health."""
    async with database.in_community(request.app.state.pool, member.community_id, read_only=True) as connection:
        found = await community_reads.gateways(connection, member.community_id)
    return Gateways(items=[gateway for _, gateway in found])
