"""What a community has to tell people about their data before it takes them (GDPR, articles 13 and 14): who is
responsible, and who gets the data. The rest of the notice is the same everywhere: the page has it."""

from msgspec import Struct

from parkmesh.server.db import database
from parkmesh.server.people import members

MOST_CONTACTS = 3


class Notice(Struct, frozen=True):
    """``contacts`` are addresses of administrators. ``other_systems``: the administrators connected programs that get
    data; ``plates``: also plates are sent to some."""

    community: str
    contacts: list[str]
    other_systems: bool
    plates: bool


async def notice(pool: database.Pool, community_id: int) -> Notice:
    """Return the community's part of its privacy notice."""
    async with members.with_accounts(pool, community_id) as connection:
        row = await connection.fetchrow(
            """
            SELECT c.title,
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
    return Notice(row["title"], row["contacts"], row["told"] or row["asking"], row["told_plates"] or row["asking"])
