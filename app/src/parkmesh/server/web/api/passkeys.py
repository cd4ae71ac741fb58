"""Registering passkeys, and signing in with a passkey. Bodies carry results of the browser's WebAuthn functions."""

from typing import Any

from fastapi import APIRouter, Request, Response
from pydantic import BaseModel, Field

from parkmesh.server.http.problems import Problem
from parkmesh.server.identity import devices, passkeys, second_factor
from parkmesh.server.identity.principals import Principal
from parkmesh.server.web import authentication, security
from parkmesh.server.web.answers import answers
from parkmesh.server.web.api.caller import HalfWay, SignedIn
from parkmesh.server.web.api.sessions import Session
from parkmesh.server.web.fields import Body, IdInPath, Password, Word

router = APIRouter(tags=["passkeys"])


class Options(BaseModel):
    """``public_key`` goes, as JSON, to ``PublicKeyCredential.parseCreationOptionsFromJSON`` or
    ``parseRequestOptionsFromJSON``."""

    public_key: dict[str, Any]


class Confirmation(Body):
    """The account's password again: a stranger at an open session must not change how the owner signs in."""

    password: Password


class NewPasskey(Body):
    """``credential``: ``toJSON()`` of the result of ``navigator.credentials.create``."""

    name: Word
    credential: dict[str, Any] = Field(max_length=20)


class Assertion(Body):
    """``credential``: ``toJSON()`` of the result of ``navigator.credentials.get``."""

    credential: dict[str, Any] = Field(max_length=20)


class Passkeys(BaseModel):
    items: list[passkeys.Passkey]


@router.get("/passkeys", responses=answers(403))
async def list_passkeys(request: Request, principal: SignedIn) -> Passkeys:
    """List the user's own passkeys."""
    found = await passkeys.owned(request.app.state.pool, principal)
    return Passkeys(items=found)


@router.post("/passkeys/registration", responses=answers(403, 409, 429))
async def begin_passkey_registration(request: Request, principal: HalfWay, body: Confirmation) -> Options:
    """Begin to register a passkey. The request contains the password again."""
    await _first_or_full(request, principal)
    state = request.app.state
    address = security.client_address(request, state.settings)
    here = passkeys.site(state.settings.public_url)
    return Options(public_key=await passkeys.begin_registration(state.pool, here, principal, body.password, address))


@router.post("/passkeys", status_code=201, responses=answers(403, 409))
async def register_passkey(request: Request, principal: HalfWay, body: NewPasskey) -> passkeys.Passkey:
    """Register the passkey that the device made."""
    await _first_or_full(request, principal)
    state = request.app.state
    here = passkeys.site(state.settings.public_url)
    return await passkeys.register(state.pool, here, principal, body.credential, body.name)


async def _first_or_full(request: Request, principal: Principal) -> None:
    """Raise ``Problem`` 403 if a user who has a passkey would register another one without it."""
    if await authentication.lacks_factor(request, principal) and await passkeys.owned(
        request.app.state.pool, principal
    ):
        raise second_factor.refusal()


@router.post("/passkeys/{passkey}/remove", status_code=204, responses=answers(403, 404, 429))
async def remove_passkey(request: Request, principal: SignedIn, passkey: IdInPath, body: Confirmation) -> Response:
    """Remove one of the user's own passkeys. The request contains the password again."""
    state = request.app.state
    address = security.client_address(request, state.settings)
    await passkeys.delete(state.pool, principal, passkey, body.password, address)
    return Response(status_code=204)


@router.post("/sessions/passkey/options", responses=answers(409, 429))
async def begin_passkey_sign_in(request: Request) -> Options:
    """Begin to sign in with a passkey."""
    state = request.app.state
    here = passkeys.site(state.settings.public_url)
    address = security.client_address(request, state.settings)
    return Options(public_key=await passkeys.begin_sign_in(state.pool, here, address))


@router.post("/sessions/passkey", status_code=201, responses=answers(409))
async def sign_in_with_passkey(request: Request, body: Assertion) -> Session:
    """Sign in with a passkey and get a token."""
    state = request.app.state
    token = await passkeys.sign_in(
        state.pool,
        passkeys.site(state.settings.public_url),
        body.credential,
        security.client_address(request, state.settings),
        devices.rough(request.headers.get("user-agent", "")),
    )
    if token is None:
        raise Problem(401, "This passkey opens no account here.", kind="sign-in")
    return Session(token=token)
