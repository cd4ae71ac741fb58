"""The rules of a community. Both models are built from the definition of the rules in ``domain.community_rules``."""

from collections.abc import Callable
from typing import Any, Literal, Optional

from fastapi import APIRouter, Request, Response
from pydantic import BaseModel, ConfigDict, Field, create_model

from parkmesh.domain import community_rules
from parkmesh.domain.community_rules import RULES, Rule
from parkmesh.server.communities import rules
from parkmesh.server.db import database
from parkmesh.server.web import preconditions
from parkmesh.server.web.api.caller import Member, SignedIn, Staff
from parkmesh.server.web.api.whole_and_part import merged, part, whole
from parkmesh.server.web.fields import Body

in_community = APIRouter(tags=["rules"])


def _type(rule: Rule) -> Any:
    plain: Any = Literal[rule.choices] if rule.choices else rule.kind
    return Optional[plain] if rule.optional else plain  # noqa: UP045 - made at run time


def _given(rule: Rule) -> Any:
    return Field(default=rule.default, ge=rule.minimum, le=rule.maximum, description=rule.description)


_GIVEN: dict[str, Any] = {rule.name: (_type(rule), _given(rule)) for rule in RULES.values()}
_READ: dict[str, Any] = {rule.name: (_type(rule), Field(description=rule.description)) for rule in RULES.values()}
_BODY: Any = create_model("NewRules", __base__=Body, **_GIVEN)
_SHOWN: Any = create_model("Rules", __base__=BaseModel, **_READ)


_WHOLE: Any = whole(_BODY, "RulesBody")
_PART: Any = part(_BODY, "RulesChange")


class RulesBody(_WHOLE):  # type: ignore[misc]  # its base is made at run time
    """All rules."""


class RulesChange(_PART):  # type: ignore[misc]  # as above
    """The rules that change."""


class Rules(_SHOWN):  # type: ignore[misc]  # as above
    """The present rules."""

    model_config = ConfigDict(from_attributes=True)


@in_community.get("/rules", responses=preconditions.READ)
async def get_rules(request: Request, response: Response, member: Member) -> Rules:
    """Read the rules."""
    async with database.in_community(request.app.state.pool, member.community_id, read_only=True) as connection:
        found: Rules = Rules.model_validate(await rules.read(connection, member.community_id))
    preconditions.tag(response, found)
    return found


@in_community.put("/rules", **preconditions.changing(403))
async def put_rules(request: Request, response: Response, principal: SignedIn, member: Staff, body: RulesBody) -> Rules:
    """Set all rules. Gateways that are online go by them within seconds."""
    return await _change(request, response, principal, member, lambda _: body)


@in_community.patch("/rules", **preconditions.changing(403))
async def patch_rules(
    request: Request, response: Response, principal: SignedIn, member: Staff, body: RulesChange
) -> Rules:
    """Change some rules; the others stay as they are."""
    return await _change(request, response, principal, member, lambda present: merged(RulesBody, present, body))


async def _change(
    request: Request, response: Response, principal: SignedIn, member: Staff, wanted: Callable[[Rules], RulesBody]
) -> Rules:
    async with database.in_community(request.app.state.pool, member.community_id) as connection:
        present = await rules.lock(connection, member.community_id)
        shown: Rules = Rules.model_validate(present)
        preconditions.check(request, shown)
        whole_rules = community_rules.Rules(**wanted(shown).model_dump())
        held = await rules.change(connection, principal, member.community_id, present, whole_rules)
        changed: Rules = Rules.model_validate(held)
    preconditions.tag(response, changed)
    return changed
