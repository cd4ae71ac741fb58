"""What a community has to tell people about their data before it takes them (GDPR, articles 13 and 14): who is
responsible, and who gets the data. The rest of the notice is the same everywhere: the page has it."""

from msgspec import Struct

from parkmesh.server import audit
from parkmesh.server.db import database
from parkmesh.server.db.database import Connection
from parkmesh.server.identity.principals import Principal
from parkmesh.server.people import members

MAX_CONTACT = 200
MOST_CONTACTS = 3


class Notice(Struct, frozen=True):
    """``contact`` is whom people write to about their data, in the words of the community, empty where it says nothing;
    ``contacts`` are addresses of administrators, for its members. ``other_systems``: the administrators connected
    programs that get data; ``plates``: also plates are sent to some."""

    community: str
    contact: str
    contacts: list[str]
    other_systems: bool
    plates: bool


async def notice(pool: database.Pool, community_id: int) -> Notice:
    """Return the community's part of its privacy notice."""
    async with members.with_accounts(pool, community_id) as connection:
        row = await connection.fetchrow(
            """
            SELECT c.title, (SELECT p.contact FROM privacy_contact p WHERE p.community_id = c.id) AS contact,
                   ARRAY(SELECT u.email::text FROM membership m JOIN app_user u ON u.id = m.user_id
                         WHERE m.community_id = c.id AND m.role = 'administrator' ORDER BY u.id LIMIT $2) AS contacts,
                   EXISTS (SELECT FROM webhook_endpoint w WHERE w.community_id = c.id AND w.enabled) AS told,
                   EXISTS (SELECT FROM webhook_endpoint w WHERE w.community_id = c.id AND w.enabled
                             AND 'plate' = ANY(w.include)) AS told_plates,
                   EXISTS (SELECT FROM api_key k WHERE k.community_id = c.id AND k.revoked_at IS NULL
                             AND (k.expires_at IS NULL OR k.expires_at > now())) AS asking
            FROM community c WHERE c.id = $1
            """,
            community_id,
            MOST_CONTACTS,
        )
    # A program with a key reads what administrators read.
    return Notice(
        community=row["title"],
        contact=row["contact"] or "",
        contacts=row["contacts"],
        other_systems=row["told"] or row["asking"],
        plates=row["told_plates"] or row["asking"],
    )


async def contact(connection: Connection, community_id: int, *, lock: bool = False) -> str:
    """Return whom people write to about their data, empty where the community doesn't say; ``lock`` keeps others from
    changing it until the transaction ends."""
    if lock:
        # There may be no row to hold yet: the community's own stands for it.
        await connection.execute("SELECT FROM community WHERE id = $1 FOR NO KEY UPDATE", community_id)
    found: str | None = await connection.fetchval(
        "SELECT contact FROM privacy_contact WHERE community_id = $1", community_id
    )
    return found or ""


async def set_contact(connection: Connection, principal: Principal, community_id: int, text: str) -> None:
    """Set whom people write to about their data, at most ``MAX_CONTACT`` characters; empty for nobody."""
    if text:
        await connection.execute(
            """
            INSERT INTO privacy_contact (community_id, contact) VALUES ($1, $2)
            ON CONFLICT (community_id) DO UPDATE SET contact = excluded.contact
            """,
            community_id,
            text,
        )
    else:
        await connection.execute("DELETE FROM privacy_contact WHERE community_id = $1", community_id)
    await audit.record(connection, principal, community_id, "privacy-contact.change", "privacy-contact")
