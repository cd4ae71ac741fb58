"""Signing in and out by the API, and the user's own sessions and password."""

from datetime import datetime
from typing import Annotated, Literal

from fastapi import APIRouter, Path, Request, Response
from pydantic import BaseModel, ConfigDict, Field

from parkmesh.server.http.problems import Problem
from parkmesh.server.identity import accounts, devices, principals
from parkmesh.server.identity.principals import Role
from parkmesh.server.web import security
from parkmesh.server.web.answers import answers
from parkmesh.server.web.api.caller import HalfWay, SignedIn
from parkmesh.server.web.fields import Body, Password

router = APIRouter(tags=["sessions"])


class Credentials(Body):
    email: str = Field(max_length=254)
    password: str = Field(max_length=1024)


class Session(BaseModel):
    """``token`` goes into ``Authorization: Bearer``."""

    token: str


class CurrentUser(BaseModel):
    """``csrf_token`` goes into the header ``X-CSRF-Token`` of requests that carry a cookie and change data."""

    email: str
    name: str
    role: Role | None = Field(description="operator, or null if the role depends on the community")
    csrf_token: str


class LiveSession(BaseModel):
    """``device`` is a rough name, empty if the browser isn't known; ``current``: this is the session of the request."""

    model_config = ConfigDict(from_attributes=True)

    id: str
    device: str
    method: Literal["password", "passkey", "invitation"]
    created_at: datetime
    last_seen_at: datetime
    expires_at: datetime
    current: bool


class LiveSessions(BaseModel):
    items: list[LiveSession]


class Ended(BaseModel):
    """``ended``: how many sessions were revoked."""

    ended: int


class PasswordChange(Body):
    current: Password
    new: Password


@router.post("/sessions", status_code=201, responses=answers(429))
async def create_session(request: Request, body: Credentials) -> Session:
    """Sign in and get a token."""
    state = request.app.state
    address = security.client_address(request, state.settings)
    device = devices.rough(request.headers.get("user-agent", ""))
    token = await principals.sign_in(state.pool, body.email, body.password, address, device=device)
    if token is None:
        raise Problem(401, "E-mail and password don't belong together.", kind="sign-in")
    return Session(token=token)


@router.get("/sessions/current")
async def current_session(request: Request, principal: HalfWay) -> CurrentUser:
    """Say who is signed in."""
    return CurrentUser(
        email=principal.email,
        name=principal.name,
        role=Role.OPERATOR if principal.operator else None,
        csrf_token=security.csrf_token(request.app.state.settings, principal.session),
    )


@router.delete("/sessions/current", status_code=204, responses=answers(403))
async def end_session(request: Request, principal: HalfWay) -> Response:
    """Sign out: the token stops working at once."""
    await principals.sign_out(request.app.state.pool, principal.session)
    return Response(status_code=204)


@router.get("/sessions", responses=answers(403))
async def list_sessions(request: Request, principal: SignedIn) -> LiveSessions:
    """List the user's own live sessions."""
    found = await accounts.sessions(request.app.state.pool, principal)
    return LiveSessions(items=[LiveSession.model_validate(item) for item in found])


@router.delete("/sessions/{session}", status_code=204, responses=answers(403, 404))
async def revoke_session(
    request: Request, principal: SignedIn, session: Annotated[str, Path(pattern="^[0-9a-f]{16}$")]
) -> Response:
    """Revoke one of the user's own sessions."""
    await accounts.end_session(request.app.state.pool, principal, session)
    return Response(status_code=204)


@router.post("/sessions/revoke-others", responses=answers(403))
async def revoke_other_sessions(request: Request, principal: SignedIn) -> Ended:
    """Revoke all sessions of the user, except the session of the request."""
    return Ended(ended=await accounts.end_other_sessions(request.app.state.pool, principal))


@router.put("/account/password", responses=answers(403, 429))
async def change_password(request: Request, principal: SignedIn, body: PasswordChange) -> Session:
    """Change the password. All sessions end, this one too: continue with the token in the answer."""
    state = request.app.state
    token = await accounts.change_password(
        state.pool,
        principal,
        body.current,
        body.new,
        security.client_address(request, state.settings),
        devices.rough(request.headers.get("user-agent", "")),
    )
    return Session(token=token)
