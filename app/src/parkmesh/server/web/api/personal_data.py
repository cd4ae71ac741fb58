"""One person's data: the person and staff can export it; staff erase it; the person can ask them to."""

from datetime import date, datetime
from typing import Any, Literal

from fastapi import APIRouter, Request
from pydantic import BaseModel, ConfigDict, Field

from parkmesh.domain.stays import ClosedBy
from parkmesh.server.db import database
from parkmesh.server.http import problems
from parkmesh.server.identity.principals import Role
from parkmesh.server.people import personal_data
from parkmesh.server.web.answers import answers
from parkmesh.server.web.api.caller import Member, PersonStaff, SignedIn
from parkmesh.server.web.api.residents import Resident
from parkmesh.server.web.fields import Body, Email, IdInPath

in_community = APIRouter(tags=["people"])


class _Part(BaseModel):
    model_config = ConfigDict(from_attributes=True)


class Account(_Part):
    id: int
    email: str
    name: str
    created_at: datetime
    role: Literal["administrator", "auditor", "resident"]


class PersonalSession(_Part):
    device: str
    method: str
    created_at: datetime
    last_seen_at: datetime
    expires_at: datetime
    revoked_at: datetime | None


class PersonalPasskey(_Part):
    name: str
    synced: bool
    created_at: datetime
    last_used_at: datetime | None


class PersonalCredential(_Part):
    id: int
    plate: str
    label: str
    status: str
    valid_from: datetime | None
    valid_until: datetime | None
    created_at: datetime


class PersonalPresence(_Part):
    plate: str
    inside: bool
    at: datetime


class PersonalPassage(_Part):
    received_at: datetime
    gate: str
    direction: str
    plate: str
    decision: str
    reason: str
    opened: bool | None


class PersonalStay(_Part):
    plate: str
    entered_at: datetime
    left_at: datetime | None
    closed_by: ClosedBy | None


class PersonalViolation(_Part):
    """``written`` is what the person wrote about it; ``by_the_person``: they reported or opened it."""

    kind: str
    plate: str | None
    since: datetime
    opened_at: datetime
    noticed_by: str
    evidence: str
    state: str
    by_the_person: bool | None
    written: str | None


class PersonalCheck(_Part):
    plate: str
    at: datetime
    asked_at: datetime
    allowed: bool
    until: datetime | None
    by: str
    reason: str


class PersonalVisitorPass(_Part):
    id: int
    name: str | None
    plate: str | None
    starts_at: datetime
    ends_at: datetime
    status: str
    cancelled_at: datetime | None
    cancel_reason: str | None
    created_at: datetime


class PersonalBooking(_Part):
    id: int
    space: str
    starts_at: datetime
    ends_at: datetime
    status: str
    cancelled_at: datetime | None
    cancel_reason: str | None
    created_at: datetime


class PersonalInvitation(_Part):
    kind: str
    email: str
    role: str | None
    created_at: datetime
    sent_at: datetime
    expires_at: datetime
    accepted_at: datetime | None
    revoked_at: datetime | None


class PersonalMessage(_Part):
    """A message to the person; ``delivered_at`` is when a mail server took it."""

    kind: str
    created_at: datetime
    delivered_at: datetime | None


class PersonalEmails(_Part):
    """What the person said of one kind of e-mails; a kind that is missing is sent."""

    kind: str
    wanted: bool


class PersonalWaiting(_Part):
    """A place of the person on the waiting list."""

    starts_at: datetime
    ends_at: datetime
    level: str | None
    state: str
    created_at: datetime
    ended_at: datetime | None


class PersonalSpaceRequest(_Part):
    """A request of the person for a space of their unit's own."""

    ev: bool
    accessible: bool
    level: str | None
    state: str
    space: str | None = Field(description="The space that is offered or was assigned; null: none.")
    created_at: datetime
    ended_at: datetime | None = Field(description="When it ended; null: not yet.")
    reasons: str | None = Field(description="Why staff passed it over, a line each; null: it wasn't.")


class PersonalPermit(_Part):
    """The person's permit for accessible spaces."""

    number: str | None = Field(description="What is printed on it; null: not entered.")
    valid_until: date = Field(description="Its last day, by the community's clock.")


class PersonalBar(_Part):
    """A bar of one of the person's plates."""

    plate: str
    reason: str
    made_at: datetime
    lifted_at: datetime | None


class AuditMention(_Part):
    """``by_the_person`` true: the person's own act; false: another user's act on the person or on their objects."""

    at: datetime
    action: str
    object: str
    detail: dict[str, Any] | None
    by_the_person: bool


class PersonalData(_Part):
    """``sessions`` and ``passkeys`` belong to the whole account; only the account's owner gets them."""

    resident: Resident
    account: Account | None
    sessions: list[PersonalSession] | None
    passkeys: list[PersonalPasskey] | None
    credentials: list[PersonalCredential]
    presence: list[PersonalPresence]
    passages: list[PersonalPassage]
    stays: list[PersonalStay]
    violations: list[PersonalViolation]
    checks: list[PersonalCheck]
    visitor_passes: list[PersonalVisitorPass]
    bookings: list[PersonalBooking]
    invitations: list[PersonalInvitation]
    messages: list[PersonalMessage]
    e_mails: list[PersonalEmails]
    waiting: list[PersonalWaiting]
    space_requests: list[PersonalSpaceRequest] = Field(description="The person's requests for a space of their own.")
    permit: PersonalPermit | None = Field(description="The person's permit for accessible spaces; null: none.")
    bars: list[PersonalBar]
    audit: list[AuditMention]


class EraseRequest(Body):
    """``confirm``: the person's e-mail address again."""

    confirm: Email


@in_community.get("/residents/{resident}/personal-data")
async def get_personal_data(request: Request, principal: SignedIn, member: Member, resident: IdInPath) -> PersonalData:
    """Export all data of a person in the community. Residents get their own data."""
    if member.role is Role.RESIDENT and resident != member.resident_id:
        raise problems.not_found()
    found = await personal_data.collect(request.app.state.pool, principal, member.community_id, resident)
    return PersonalData.model_validate(found)


class ErasureRequest(Body):
    """``wanted`` false: the person withdraws the request."""

    wanted: bool


@in_community.put("/residents/{resident}/erasure-request")
async def ask_for_erasure(
    request: Request, principal: SignedIn, member: Member, resident: IdInPath, body: ErasureRequest
) -> Resident:
    """Ask the community's administrators to erase one's own data. Only the person can ask. No If-Match is needed: the
    last request counts."""
    if resident != member.resident_id:
        raise problems.not_found()
    async with database.in_community(request.app.state.pool, member.community_id) as connection:
        found = await personal_data.ask_for_erasure(connection, principal, member.community_id, resident, body.wanted)
    return Resident.model_validate(found)


@in_community.post("/residents/{resident}/erase", responses=answers(403, 409))
async def erase_resident(
    request: Request, principal: SignedIn, member: PersonStaff, resident: IdInPath, body: EraseRequest
) -> personal_data.Erased:
    """Erase a person's data from the community, for ever."""
    return await personal_data.erase(request.app.state.pool, principal, member.community_id, resident, body.confirm)
