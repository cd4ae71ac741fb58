"""Whom people write to about their data: a part of the privacy notice that the community sets."""

from typing import Annotated

from fastapi import APIRouter, Request, Response
from pydantic import BaseModel, Field, StringConstraints

from parkmesh.server.db import database
from parkmesh.server.people import privacy
from parkmesh.server.web import preconditions
from parkmesh.server.web.api.caller import Member, SignedIn, Staff
from parkmesh.server.web.fields import PRINTABLE, Body

in_community = APIRouter(tags=["communities"])


class PrivacyContact(BaseModel):
    contact: str = Field(description="Whom people write to about their data; empty: the notice names administrators.")


class PrivacyContactBody(Body):
    contact: Annotated[
        str, StringConstraints(strip_whitespace=True, max_length=privacy.MAX_CONTACT, pattern=PRINTABLE)
    ] = Field(description="An e-mail address, a telephone number or a postal address; empty for none.")


@in_community.get("/privacy-contact", responses=preconditions.READ)
async def get_privacy_contact(request: Request, response: Response, member: Member) -> PrivacyContact:
    """Read whom people write to about their data. The pages of invitations and visitors show it."""
    async with database.in_community(request.app.state.pool, member.community_id, read_only=True) as connection:
        found = PrivacyContact(contact=await privacy.contact(connection, member.community_id))
    preconditions.tag(response, found)
    return found


@in_community.put("/privacy-contact", **preconditions.changing(403))
async def put_privacy_contact(
    request: Request, response: Response, principal: SignedIn, member: Staff, body: PrivacyContactBody
) -> PrivacyContact:
    """Set whom people write to about their data."""
    async with database.in_community(request.app.state.pool, member.community_id) as connection:
        present = await privacy.contact(connection, member.community_id, lock=True)
        preconditions.check(request, PrivacyContact(contact=present))
        await privacy.set_contact(connection, principal, member.community_id, body.contact)
    changed = PrivacyContact(contact=body.contact)
    preconditions.tag(response, changed)
    return changed
