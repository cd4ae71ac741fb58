"""Signing in and out by the API."""

from fastapi import APIRouter, Request, Response
from pydantic import BaseModel, Field

from parkmesh.server import principals
from parkmesh.server.principals import Role
from parkmesh.server.problems import Problem
from parkmesh.server.web import security
from parkmesh.server.web.api.common import Body, SignedIn, answers

router = APIRouter(tags=["sessions"])


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


@router.post("/sessions", status_code=201, responses=answers(429))
async def create_session(request: Request, body: Credentials) -> Session:
    """Sign in and get a token."""
    state = request.app.state
    address = security.client_address(request, state.settings)
    token = await principals.sign_in(state.pool, body.email, body.password, address)
    if token is None:
        raise Problem(401, "E-mail and password don't belong together.", kind="sign-in")
    return Session(token=token)


@router.get("/sessions/current")
async def current_session(request: Request, principal: SignedIn) -> CurrentUser:
    """Say who is signed in."""
    return CurrentUser(
        email=principal.email,
        name=principal.name,
        role=Role.OPERATOR if principal.operator else None,
        csrf_token=security.csrf_token(request.app.state.settings, principal.session),
    )


@router.delete("/sessions/current", status_code=204, responses=answers(403))
async def end_session(request: Request, principal: SignedIn) -> Response:
    """Sign out: the token is worthless from now on."""
    await principals.sign_out(request.app.state.pool, principal.session)
    return Response(status_code=204)
