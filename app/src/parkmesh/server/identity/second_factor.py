"""Users who need more than a password, and sessions that lack it.

A passkey is two factors by itself: something one has, opened by something one is or knows (``passkeys`` insists on the
device's check of its user). A session that a password or a link opened is one factor: users of the roles that
PARKMESH_SECOND_FACTOR names can only sign in with their passkey, or register a first one. Users who have a passkey
already can't register another that way, or a stolen password would be enough after all.
"""

from parkmesh.server.db import database
from parkmesh.server.http.problems import Problem
from parkmesh.server.identity import principals
from parkmesh.server.identity.principals import Principal, Role
from parkmesh.server.settings import SecondFactor

_STAFF = (Role.ADMINISTRATOR, Role.AUDITOR)


def needed(rule: SecondFactor, principal: Principal) -> bool:
    """Tell whether the rule asks more of a user than a password. Keys of integrators have none."""
    if rule == "none" or principal.api_key is not None:
        return False
    return principal.operator or (
        rule == "staff" and any(member.role in _STAFF for member in principal.memberships.values())
    )


async def missing(pool: database.Pool, rule: SecondFactor, principal: Principal) -> bool:
    """Tell whether a user who needs a second factor asks without it."""
    return needed(rule, principal) and await principals.session_method(pool, principal.session) != "passkey"


def refusal() -> Problem:
    return Problem(403, "Sign in with a passkey: here a password alone is not enough.", kind="second-factor")
