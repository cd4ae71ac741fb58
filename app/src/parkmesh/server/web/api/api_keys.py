"""API keys for integrators. People manage the keys; a key can't make or revoke keys."""

from datetime import datetime
from typing import Annotated, Literal

from fastapi import APIRouter, Path, Request, Response
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

from parkmesh.server.db import database
from parkmesh.server.db.database import Connection
from parkmesh.server.http import problems
from parkmesh.server.identity import api_keys
from parkmesh.server.web import preconditions
from parkmesh.server.web.answers import answers
from parkmesh.server.web.api import creating
from parkmesh.server.web.api.caller import PersonStaff, SignedIn
from parkmesh.server.web.api.creating import Made
from parkmesh.server.web.fields import Body, Id, Word
from parkmesh.server.web.paging import Page

in_community = APIRouter(tags=["api keys"], responses=answers(403))

KeyId = Annotated[Id, Path(description="The key's id.")]


class NewApiKey(Body):
    """A ``reader`` may only GET; an ``administrator`` may do what administrators may, except managing keys."""

    name: Word
    role: Literal["administrator", "reader"]
    expires_at: AwareDatetime | None = None


class ApiKey(BaseModel):
    model_config = ConfigDict(from_attributes=True)

    id: int
    name: str
    role: Literal["administrator", "reader"]
    created_at: datetime
    expires_at: datetime | None
    revoked_at: datetime | None


class ListedApiKey(ApiKey):
    last_used_at: datetime | None = Field(description="When the key was last used, to the minute.")


class CreatedApiKey(ApiKey):
    """``token`` goes into ``Authorization: Bearer``. Only the first answer shows it; a repeated answer has null."""

    token: str | None


class ApiKeys(BaseModel):
    items: list[ListedApiKey]
    next: str | None


@in_community.get("/api-keys")
async def list_api_keys(request: Request, member: PersonStaff, page: Page) -> ApiKeys:
    """List the community's API keys, oldest first, revoked keys too."""
    after = page.after(int)
    async with database.in_community(request.app.state.pool, member.community_id, read_only=True) as connection:
        found = await api_keys.listed(connection, member.community_id, limit=page.fetch, after=after[0] if after else 0)
    items, following = page.cut(found, lambda key: (key.id,))
    return ApiKeys(items=[ListedApiKey.model_validate(key) for key in items], next=following)


@in_community.post("/api-keys", **creating.documented(CreatedApiKey, 409))
async def create_api_key(request: Request, principal: SignedIn, member: PersonStaff, body: NewApiKey) -> Response:
    """Make an API key. Only this answer contains its token."""

    async def make(connection: Connection) -> Made:
        key, token = await api_keys.create(
            connection, principal, member.community_id, body.name, body.role, body.expires_at
        )
        shown = ApiKey.model_validate(key)
        created = CreatedApiKey(**shown.model_dump(), token=token)
        return Made(created, key.id, version=shown, secret={"token"})

    return await creating.in_community(request, principal, member, body, make)


@in_community.get("/api-keys/{key}", responses=preconditions.READ)
async def show_api_key(request: Request, response: Response, member: PersonStaff, key: KeyId) -> ApiKey:
    """Show one API key."""
    async with database.in_community(request.app.state.pool, member.community_id, read_only=True) as connection:
        found = await api_keys.read(connection, member.community_id, key)
    if found is None:
        raise problems.not_found()
    shown = ApiKey.model_validate(found)
    preconditions.tag(response, shown)
    return shown


@in_community.delete("/api-keys/{key}", **preconditions.deleting())
async def revoke_api_key(request: Request, principal: SignedIn, member: PersonStaff, key: KeyId) -> Response:
    """Revoke an API key. It stops working at once, and stays in the list."""
    async with database.in_community(request.app.state.pool, member.community_id) as connection:
        found = await api_keys.read(connection, member.community_id, key, lock=True)
        if found is None:
            raise problems.not_found()
        preconditions.check(request, ApiKey.model_validate(found))
        await api_keys.revoke(connection, principal, member.community_id, found)
    return Response(status_code=204)
