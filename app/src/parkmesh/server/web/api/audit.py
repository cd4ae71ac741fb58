"""The audit trail, for a community's administrators and for the operator's desk."""

from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query, Request
from pydantic import AwareDatetime, BaseModel, Field

from parkmesh.server import audit
from parkmesh.server.communities import audit_chain
from parkmesh.server.communities.audit_chain import Break, Head
from parkmesh.server.db import database
from parkmesh.server.db.database import OUTSIDE
from parkmesh.server.http.problems import Problem
from parkmesh.server.web.answers import answers
from parkmesh.server.web.api.caller import Operator, Staff
from parkmesh.server.web.fields import Text
from parkmesh.server.web.paging import Page, PageAsked

router = APIRouter(tags=["audit"])
in_community = APIRouter(tags=["audit"])

Word = Annotated[Text, Query(min_length=1, max_length=120)]


class AuditEntry(BaseModel):
    """``seq`` and ``hash`` place the entry in the chain that ``parkmesh verify-audit`` checks."""

    id: int
    seq: int
    at: datetime
    actor: str = Field(description="user:<id>, api-key:<id> or system:<part>")
    actor_name: str | None = Field(description="The present name of the user or API key.")
    action: str
    object: str
    detail: dict[str, Any] | None = Field(description="Null if the details were erased.")
    hash: str


class AuditEntries(BaseModel):
    items: list[AuditEntry]
    next: str | None


def _filter(
    action: Annotated[Word | None, Query(description="An action, or its part before the full stop.")] = None,
    actor: Word | None = None,
    object: Word | None = None,
    since: Annotated[AwareDatetime | None, Query(alias="from", description="At or after this moment.")] = None,
    until: Annotated[AwareDatetime | None, Query(description="Before this moment.")] = None,
) -> audit.Filter:
    return audit.Filter(action=action, actor=actor, object=object, since=since, until=until)


class Verification(BaseModel):
    """What a check of the community's chain found: it `holds` up to its head, or this is the first place at which it
    doesn't."""

    holds: bool = Field(description="Whether no entry was changed, removed, added or reordered.")
    entries: int | None = Field(description="How many entries the chain has. Null if it doesn't hold.")
    hash: str | None = Field(description="Hash of the last entry: the chain's head. Null if it doesn't hold.")
    at: int | None = Field(description="The place in the chain at which it doesn't hold; null if it holds.")
    entry: int | None = Field(description="Id of the entry at the fault, where there is one.")
    problem: str | None = Field(description="What is wrong there; null if the chain holds.")


Only = Annotated[audit.Filter, Depends(_filter)]


@in_community.get("/audit", responses=answers(403))
async def list_audit(request: Request, member: Staff, page: Page, only: Only) -> AuditEntries:
    """List the acts in the community, latest first."""
    pool = request.app.state.pool
    after = page.after(int)
    async with database.in_community(pool, member.community_id, read_only=True) as connection:
        found = await audit.entries(
            connection, member.community_id, limit=page.fetch, before=after[0] if after else None, only=only
        )
    return await _shown(pool, member.community_id, found, page)


@in_community.get("/audit/verification", responses=answers(403, 409))
async def verify_audit(
    request: Request,
    member: Staff,
    entries: Annotated[int | None, Query(ge=1, le=2**53, description="Entries that the chain had earlier.")] = None,
    hash: Annotated[str | None, Query(pattern="^[0-9a-f]{64}$", description="The head that it had then.")] = None,
) -> Verification:
    """Compute the chain of the audit trail again.

    Keep the head (`entries` and `hash`) outside of this service and give it to a later check: the chain must still
    pass through there. Only so is a trail found out whose end was cut off, or that was written anew. 409 (`busy`)
    while another check of the community runs.
    """
    if (entries is None) != (hash is None):
        missing = "entries" if entries is None else "hash"
        raise Problem(422, f"{missing}: an earlier head has both, entries and hash", kind="invalid")
    earlier = None if entries is None or hash is None else Head(entries, hash)
    pool = request.app.state.pool
    found = await audit_chain.verify_community(pool, member.community_id, member.community, earlier)
    if isinstance(found, Break):
        return Verification(
            holds=False, entries=None, hash=None, at=found.seq, entry=found.entry, problem=found.problem
        )
    return Verification(holds=True, entries=found.entries, hash=found.hash, at=None, entry=None, problem=None)


@router.get("/desk/audit", responses=answers(404))
async def list_desk_audit(request: Request, operator: Operator, page: Page, only: Only) -> AuditEntries:
    """List the acts outside of communities, latest first: sign-ins of the desk, communities taken on and offboarded."""
    pool = request.app.state.pool
    after = page.after(int)
    async with database.at_desk(pool) as connection:
        found = await audit.entries(
            connection, OUTSIDE, limit=page.fetch, before=after[0] if after else None, only=only
        )
    return await _shown(pool, OUTSIDE, found, page)


async def _shown(pool: database.Pool, community_id: int, found: Sequence[audit.Entry], page: PageAsked) -> AuditEntries:
    items, following = page.cut(found, lambda entry: (entry.id,))
    names = await audit.names(pool, community_id, items)
    return AuditEntries(
        items=[
            AuditEntry(
                id=entry.id,
                seq=entry.seq,
                at=entry.at,
                actor=entry.actor,
                actor_name=names.get(entry.actor),
                action=entry.action,
                object=entry.object,
                detail=entry.detail,
                hash=entry.hash.hex(),
            )
            for entry in items
        ],
        next=following,
    )
