"""Keys for integrators. People manage them; a key can't make or revoke keys."""

from datetime import datetime
from typing import Annotated, Literal

from fastapi import APIRouter, Path, Request, Response
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

from parkmesh.server import api_keys, database, problems
from parkmesh.server.web.api import idempotency, preconditions
from parkmesh.server.web.api.common import Body, Id, PersonStaff, SignedIn, Text, answers
from parkmesh.server.web.api.paging import Page

in_community = APIRouter(tags=["api keys"], responses=answers(403))

KeyId = Annotated[Id, Path(description="The key's id.")]


class NewApiKey(Body):
    """A ``reader`` may only GET; an ``administrator`` may do what administrators may, except managing keys."""

    name: Annotated[Text, Field(min_length=1, max_length=60)]
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
    last_used_at: datetime | None = Field(description="to the minute")


class CreatedApiKey(ApiKey):
    """``token`` goes into ``Authorization: Bearer``. It is shown this once: null where the answer is given again."""

    token: str | None


class ApiKeys(BaseModel):
    items: list[ListedApiKey]
    next: str | None


@in_community.get("/api-keys")
async def list_api_keys(request: Request, member: PersonStaff, page: Page) -> ApiKeys:
    """List the community's keys, oldest first, with those that were revoked."""
    after = page.after(int)
    async with database.in_community(request.app.state.pool, member.community_id, read_only=True) as connection:
        found = await api_keys.listed(connection, member.community_id, limit=page.fetch, after=after[0] if after else 0)
    items, following = page.cut(found, lambda key: (key.id,))
    return ApiKeys(items=[ListedApiKey.model_validate(key) for key in items], next=following)


@in_community.post(
    "/api-keys",
    status_code=201,
    response_model=CreatedApiKey,
    responses={**answers(409), **preconditions.CREATED},
    dependencies=[idempotency.KEY],
)
async def create_api_key(request: Request, principal: SignedIn, member: PersonStaff, body: NewApiKey) -> Response:
    """Make a key. Its token is in this answer and nowhere else."""
    async with database.in_community(request.app.state.pool, member.community_id) as connection:
        once = await idempotency.once(request, connection, principal, member.community_id, body)
        if once.answer is not None:
            return once.answer
        key, token = await api_keys.create(
            connection, principal, member.community_id, body.name, body.role, body.expires_at
        )
        shown = ApiKey.model_validate(key)
        headers = {
            "Location": f"/api/v1/communities/{member.community}/api-keys/{key.id}",
            "ETag": preconditions.etag(shown),
        }
        created = CreatedApiKey(**shown.model_dump(), token=token)
        return await once.keep(201, created, headers, secret={"token"})


@in_community.get("/api-keys/{key}", responses=preconditions.READ)
async def show_api_key(request: Request, response: Response, member: PersonStaff, key: KeyId) -> ApiKey:
    """Show one key."""
    async with database.in_community(request.app.state.pool, member.community_id, read_only=True) as connection:
        found = await api_keys.read(connection, member.community_id, key)
    if found is None:
        raise problems.not_found()
    shown = ApiKey.model_validate(found)
    preconditions.tag(response, shown)
    return shown


@in_community.delete(
    "/api-keys/{key}", status_code=204, responses=preconditions.DELETED, dependencies=[preconditions.IF_MATCH]
)
async def revoke_api_key(request: Request, principal: SignedIn, member: PersonStaff, key: KeyId) -> Response:
    """Revoke a key. It is worthless from now on, and stays in the list."""
    async with database.in_community(request.app.state.pool, member.community_id) as connection:
        found = await api_keys.read(connection, member.community_id, key, lock=True)
        if found is None:
            raise problems.not_found()
        preconditions.check(request, ApiKey.model_validate(found))
        await api_keys.revoke(connection, principal, member.community_id, found)
    return Response(status_code=204)
