"""Invitations into a community, and links for a new password: staff make them, the holder of link or code uses them."""

from datetime import datetime
from typing import Annotated, Literal, Self

from fastapi import APIRouter, Request, Response
from pydantic import BaseModel, ConfigDict, Field, model_validator

from parkmesh.server.db import database
from parkmesh.server.identity import devices
from parkmesh.server.identity.principals import Role
from parkmesh.server.people import invitations, units
from parkmesh.server.web import language, links, paging, preconditions, security
from parkmesh.server.web.answers import answers
from parkmesh.server.web.api.caller import PersonStaff, SignedIn, Staff
from parkmesh.server.web.api.sessions import Session
from parkmesh.server.web.fields import Body, Email, Id, IdInPath, Password, Title, Word

router = APIRouter(tags=["invitations"])
in_community = APIRouter(tags=["invitations"])


InvitedRole = Literal["administrator", "auditor", "resident"]


class Invitation(BaseModel):
    model_config = ConfigDict(from_attributes=True)

    id: int
    email: str
    role: InvitedRole
    unit_id: int | None
    unit: str | None
    state: Literal["pending", "accepted", "revoked", "expired"]
    created_at: datetime
    sent_at: datetime
    expires_at: datetime


class Invitations(BaseModel):
    items: list[Invitation]
    next: str | None


class NewInvitation(Body):
    email: Email
    role: InvitedRole = "resident"
    unit_id: Id | None = None
    unit: Word | None = Field(default=None, description="Instead of `unit_id`: the unit's name, exactly.")
    make_unit: bool = Field(default=False, description="Make the unit of this name where the community has none.")
    send_mail: bool = Field(default=True, description="Whether link and code are mailed, where the service can.")

    @model_validator(mode="after")
    def _one_unit(self) -> Self:
        if self.unit is not None and self.unit_id is not None:
            raise ValueError("give unit_id, or unit")
        if self.make_unit and self.unit is None:
            raise ValueError("make_unit needs the name of a unit")
        return self

    @property
    def wanted(self) -> int | units.Named | None:
        """The unit by id or name."""
        return self.unit_id if self.unit is None else units.Named(self.unit, self.make_unit)


class Opening(BaseModel):
    """The means to set a new password, shown only in this answer: ``link`` for the browser, or ``code`` to type in with
    the e-mail address."""

    link: str
    token: str
    code: str
    expires_at: datetime


class MadeInvitation(Invitation):
    """An invitation with what opens it, shown this once: ``link`` for the browser, or ``code`` to type in with the
    e-mail address. ``mailed``: both are on their way to the address."""

    mailed: bool
    link: str
    token: str
    code: str


class Claim(Body):
    """A link's ``token``, or an ``email`` with a ``code``."""

    token: Annotated[str, Field(min_length=1, max_length=128)] | None = None
    email: Email | None = None
    code: Annotated[str, Field(min_length=1, max_length=32)] | None = None

    @model_validator(mode="after")
    def _one_of_both(self) -> Self:
        by_code = self.email is not None and self.code is not None
        if (self.token is not None) == by_code or (self.email is None) != (self.code is None):
            raise ValueError("give a token, or an email with a code")
        return self

    def presented(self) -> invitations.Claim:
        return invitations.Claim(self.token, self.email, self.code)


class NewAccount(Claim):
    name: Title
    password: Password


class NewPassword(Claim):
    password: Password


class Offer(BaseModel):
    """The purpose of a link or code. ``account``: the address has an account; its owner signs in, then joins."""

    model_config = ConfigDict(from_attributes=True)

    kind: Literal["join", "reset"]
    email: str
    community: str
    title: str
    role: InvitedRole | None
    unit: str | None
    account: bool
    expires_at: datetime


class Joined(BaseModel):
    """``community``: the name of the community that the user belongs to now."""

    community: str


class BulkInvitation(Body):
    """Either ``resident_ids``, or ``all_without_account``."""

    resident_ids: list[Id] | None = Field(default=None, min_length=1, max_length=5000)
    all_without_account: Literal[True] | None = None

    @model_validator(mode="after")
    def _one_of_both(self) -> Self:
        if (self.resident_ids is None) == (self.all_without_account is None):
            raise ValueError("give resident_ids, or all_without_account")
        return self


def _made(
    request: Request, invitation: invitations.Invitation, made: invitations.Secrets, *, mailed: bool
) -> MadeInvitation:
    shown = Invitation.model_validate(invitation).model_dump()
    link = links.absolute(request, links.JOIN, made.token)
    return MadeInvitation(**shown, mailed=mailed, link=link, token=made.token, code=made.code)


@in_community.get("/invitations", responses=answers(403))
async def list_invitations(request: Request, member: Staff, page: paging.Page) -> Invitations:
    """List the community's invitations, latest first."""
    after = page.after(int)
    async with database.in_community(request.app.state.pool, member.community_id, read_only=True) as connection:
        found = await invitations.page(
            connection, member.community_id, limit=page.fetch, after=(after[0],) if after else None
        )
    items, following = page.cut(found, lambda invitation: (invitation.id,))
    return Invitations(items=[Invitation.model_validate(item) for item in items], next=following)


@in_community.post("/invitations", status_code=201, responses=answers(403, 409))
async def create_invitation(
    request: Request, response: Response, principal: SignedIn, member: PersonStaff, body: NewInvitation
) -> MadeInvitation:
    """Invite an address. Link and code are mailed to it, and in the answer this once.

    An `auditor` reads everything that administrators read and changes nothing; they belong to no unit (422).
    """
    mailed = body.send_mail and request.app.state.settings.mail is not None
    invitation, made = await invitations.invite(
        request.app.state.pool, principal, member, body.email, Role(body.role), body.wanted, mailed=mailed
    )
    response.headers["Location"] = f"/api/v1/communities/{member.community}/invitations/{invitation.id}"
    return _made(request, invitation, made, mailed=mailed)


@in_community.post("/invitations/bulk", status_code=202, responses=answers(403, 409))
async def invite_many(
    request: Request, principal: SignedIn, member: PersonStaff, body: BulkInvitation
) -> invitations.BulkInvited:
    """Invite many people by mail: those named, or all without an account.

    409 (`no-mail`) where the service sends no mails. Each mail has a link and no code.
    """
    if request.app.state.settings.mail is None:
        raise invitations.no_mail()
    return await invitations.invite_many(request.app.state.pool, principal, member, body.resident_ids)


@in_community.get("/invitations/{invitation}", responses={**preconditions.READ, **answers(403)})
async def get_invitation(request: Request, response: Response, member: Staff, invitation: IdInPath) -> Invitation:
    """Read an invitation."""
    async with database.in_community(request.app.state.pool, member.community_id, read_only=True) as connection:
        found = Invitation.model_validate(await invitations.get(connection, member.community_id, invitation))
    preconditions.tag(response, found)
    return found


@in_community.post("/invitations/{invitation}/resend", responses=answers(403, 409))
async def resend_invitation(
    request: Request, principal: SignedIn, member: PersonStaff, invitation: IdInPath
) -> MadeInvitation:
    """Make a new link and code for an invitation that was not accepted; the old link and code end."""
    mailed = request.app.state.settings.mail is not None
    found, made = await invitations.resend(
        request.app.state.pool, principal, member.community_id, invitation, mailed=mailed
    )
    return _made(request, found, made, mailed=mailed)


@in_community.delete("/invitations/{invitation}", **preconditions.deleting(403, 409))
async def revoke_invitation(
    request: Request, principal: SignedIn, member: PersonStaff, invitation: IdInPath
) -> Response:
    """Revoke an invitation. It stays in the list."""
    async with database.in_community(request.app.state.pool, member.community_id) as connection:
        present = await invitations.get(connection, member.community_id, invitation, lock=True)
        preconditions.check(request, Invitation.model_validate(present))
        await invitations.revoke(connection, principal, member.community_id, present)
    return Response(status_code=204)


@in_community.post("/members/{user}/password-reset", status_code=201, responses=answers(403, 409))
async def offer_password_reset(request: Request, principal: SignedIn, member: PersonStaff, user: IdInPath) -> Opening:
    """Make a link and code with which a member sets a new password. The old password works until the member sets it."""
    made = await invitations.offer_reset(request.app.state.pool, principal, member, user)
    link = links.absolute(request, links.RESET, made.token)
    return Opening(link=link, token=made.token, code=made.code, expires_at=made.expires_at)


@router.post("/invitations/look", responses=answers(404, 429))
async def look_at_invitation(request: Request, body: Claim) -> Offer:
    """Say the purpose of a link or code, without using it up."""
    state = request.app.state
    address = security.client_address(request, state.settings)
    return Offer.model_validate(await invitations.look(state.pool, body.presented(), address))


@router.post("/invitations/accept", status_code=201, responses=answers(404, 409, 429))
async def accept_invitation(request: Request, body: NewAccount) -> Session:
    """Accept an invitation with a new account. The answer signs its owner in."""
    state = request.app.state
    token = await invitations.accept_as_new(
        state.pool,
        body.presented(),
        name=body.name,
        password=body.password,
        language=language.of(request).code,
        address=security.client_address(request, state.settings),
        device=devices.rough(request.headers.get("user-agent", "")),
    )
    return Session(token=token)


@router.post("/invitations/join", responses=answers(403, 404, 409, 429))
async def join_community(request: Request, principal: SignedIn, body: Claim) -> Joined:
    """Accept an invitation with the account that is signed in."""
    state = request.app.state
    address = security.client_address(request, state.settings)
    return Joined(community=await invitations.accept(state.pool, principal, body.presented(), address))


@router.post("/password-resets", status_code=201, responses=answers(404, 429))
async def reset_password(request: Request, body: NewPassword) -> Session:
    """Set a new password with a link or code. All sessions end, except the new one in the answer."""
    state = request.app.state
    token = await invitations.set_password(
        state.pool,
        body.presented(),
        password=body.password,
        address=security.client_address(request, state.settings),
        device=devices.rough(request.headers.get("user-agent", "")),
    )
    return Session(token=token)
