"""The audit trail: who did what to which object. Written in the transaction of the act, so that neither is without the
other."""

import json
from collections.abc import Mapping
from typing import Any

from parkmesh.server import database
from parkmesh.server.principals import Principal


async def record(
    connection: database.Connection,
    principal: Principal,
    community_id: int,
    action: str,
    what: str,
    detail: Mapping[str, Any] | None = None,
) -> None:
    """Write one entry: ``action`` is ``<object>.<verb>`` (``credential.revoke``), ``what`` names the object.

    ``detail`` holds no secret and no more of a person than the act needs: it outlives the person's data.
    """
    await connection.execute(
        "INSERT INTO audit_entry (community_id, user_id, action, object, detail) VALUES ($1, $2, $3, $4, $5)",
        community_id,
        principal.user_id,
        action,
        what,
        json.dumps(detail or {}),
    )
