"""Switching endpoints off that are gone or have taken nothing for days, and telling their maker."""

from parkmesh.domain import webhooks
from parkmesh.server import audit
from parkmesh.server.db import database
from parkmesh.server.db.database import Connection
from parkmesh.server.outbox import messages
from parkmesh.server.outbox.messages import Mail
from parkmesh.server.webhooks import endpoints
from parkmesh.server.webhooks.endpoints import Endpoint

MAIL = "webhook-stopped"

# The maker where they still look after the community (null: the desk), else its administrators (null: all operators).
_READERS = """
WITH able AS (
    SELECT u.id, u.email, u.language FROM app_user u LEFT JOIN membership m ON m.user_id = u.id AND m.community_id = $1
    WHERE u.active AND (m.role = 'administrator' OR u.operator AND ($1 IS NULL OR 'user:' || u.id = $2))
)
SELECT email, language FROM able
WHERE 'user:' || id = $2 OR NOT EXISTS (SELECT FROM able o WHERE 'user:' || o.id = $2)
"""


async def failed(connection: Connection, community_id: int | None, endpoint: Endpoint, *, gone: bool) -> None:
    """Note a failure of an endpoint that is held; switch it off where it is ``gone`` or has failed for too long.

    The transaction is that of ``endpoints.acting``. Afterwards it sees accounts, whose addresses the mails need.
    """
    too_long = await connection.fetchval(
        """
        UPDATE webhook_endpoint SET failing_since = coalesce(failing_since, clock_timestamp())
        WHERE id = $1 RETURNING failing_since < clock_timestamp() - $2::interval
        """,
        endpoint.id,
        webhooks.STOPPED_AFTER,
    )
    if not endpoint.enabled or not (gone or too_long):
        return
    stopped_why = "gone" if gone else "failing"
    await connection.execute(
        "UPDATE webhook_endpoint SET enabled = false, stopped_why = $2 WHERE id = $1",
        endpoint.id,
        stopped_why,
    )
    system = audit.System("webhooks")
    detail = {"why": stopped_why}
    part = endpoints.part_of_trail(community_id)
    await audit.record(connection, system, part, "webhook.stop", f"webhook/{endpoint.id}", detail)
    await database.set_scope(connection, "identity")
    title, base, language = None, "", "en"
    if community_id is not None:
        place = await connection.fetchrow("SELECT name, title, language FROM community WHERE id = $1", community_id)
        if place is None:
            return
        title, base, language = place["title"], f"/communities/{place['name']}", place["language"]
    readers = await connection.fetch(_READERS, community_id, endpoint.made_by)
    payload = {
        "community": title,
        "url": endpoint.url,
        "why": stopped_why,
        "path": f"{base}/webhooks/{endpoint.id}",
    }
    await messages.mail(
        connection,
        community_id,
        MAIL,
        [Mail(reader["email"], reader["language"] or language, payload) for reader in readers],
    )
