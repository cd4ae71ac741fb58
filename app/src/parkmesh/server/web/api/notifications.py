"""The caller's own choice of e-mails in a community."""

from typing import Annotated

from fastapi import APIRouter, Request
from pydantic import BaseModel, Field

from parkmesh.server.http.problems import Problem
from parkmesh.server.identity.principals import Membership, Principal, Role
from parkmesh.server.notifications import preferences
from parkmesh.server.notifications.preferences import Kind
from parkmesh.server.web.answers import answers
from parkmesh.server.web.api.caller import Member, SignedIn
from parkmesh.server.web.fields import Body

in_community = APIRouter(tags=["notifications"])

Wanted = Annotated[dict[Kind, bool], Field(description="The kinds of e-mails, each with whether the caller wants it.")]


class NotificationPreferences(BaseModel):
    """Which e-mails of a community the caller gets."""

    e_mails: Wanted


class NotificationPreferencesChange(Body):
    """Kinds of e-mails to switch on or off; the others stay as they are."""

    e_mails: Wanted


def _kinds(principal: Principal, member: Membership) -> tuple[int | None, list[Kind]]:
    if principal.api_key is not None:
        raise Problem(403, "An API key gets no e-mails; a person does.")
    return None if member.role is Role.OPERATOR else member.community_id, preferences.kinds(
        member.role, member.resident_id
    )


@in_community.get("/notification-preferences", responses=answers(403))
async def get_notification_preferences(
    request: Request, principal: SignedIn, member: Member
) -> NotificationPreferences:
    """Read which e-mails of the community you get. An operator reads those of the desk."""
    community_id, kinds = _kinds(principal, member)
    said = await preferences.wanted(request.app.state.pool, principal.user_id, community_id)
    return NotificationPreferences(e_mails={kind: said.get(kind, True) for kind in kinds})


@in_community.patch("/notification-preferences", responses=answers(403))
async def patch_notification_preferences(
    request: Request, principal: SignedIn, member: Member, body: NotificationPreferencesChange
) -> NotificationPreferences:
    """Switch kinds of e-mails on or off."""
    community_id, kinds = _kinds(principal, member)
    if strange := [kind for kind in body.e_mails if kind not in kinds]:
        raise Problem(422, f"e_mails: you don't get any of these kinds: {', '.join(strange)}", kind="invalid")
    await preferences.set_wanted(request.app.state.pool, principal.user_id, community_id, body.e_mails)
    return await get_notification_preferences(request, principal, member)
