"""Which passages a projection hasn't read yet. Each projection keeps a mark of each gateway in a table of its own.

Ingestion is left as it is: ``edge_batch`` stores a gateway's events and its mark in one transaction that holds the
gateway's row, so at every moment all events up to ``(gateway.epoch, gateway.acked)`` are there to be seen, and no other
is. What lies between the two marks is new, however old its times are: passages of an offline gateway that arrive hours
later are found like others.

``progress`` below is the table of a projection's marks: community_id, gateway_id, epoch, seq.
"""

from collections.abc import Iterable, Mapping
from typing import Any

from parkmesh.server.db.database import Connection

EVENTS = "event_progress"
"""The marks of passage_events, which adds plates to the search as well."""


async def enter(connection: Connection, projection: str, community_id: int) -> None:
    """Let no other server do the same projection of the community until the transaction ends; ``erase_passages`` waits
    too."""
    # Planning the queries of passages, for each partition of them, takes several times as long as a small batch does.
    # They are always read by the same index, so a plan is made once for each connection.
    await connection.execute(
        """
        SELECT set_config('plan_cache_mode', 'force_generic_plan', true),
               pg_advisory_xact_lock(hashtextextended($1, $2::bigint))
        """,
        projection,
        community_id,
    )


def behind(progress: str) -> str:
    """Return the query of the communities with unread events; ``$1`` are the communities to look at (null: all). The
    transaction is in the scope ``server``."""
    return f"""
    SELECT g.community_id FROM gateway g
    LEFT JOIN {progress} s ON s.community_id = g.community_id AND s.gateway_id = g.id
    WHERE (g.epoch, g.acked) > (coalesce(s.epoch, 0), coalesce(s.seq, 0))
      AND ($1::bigint[] IS NULL OR g.community_id = ANY($1))
    """  # noqa: S608 - names from here


def unread(progress: str, columns: str, only: str) -> str:
    """Return the query of a community's (``$1``) unread passages, at most ``$2`` of a gateway.

    ``columns`` and ``only`` are said of ``p``, a passage. There is one row at least for each gateway that is behind.
    Of a gateway of which all is here, the mark (``mark_epoch``, ``mark_seq``) is its last event; of one with more than
    a batch (``more``), its last passage here.
    """
    return f"""
    WITH b AS MATERIALIZED (
        SELECT g.id, g.epoch, g.acked, coalesce(s.epoch, 0) AS old_epoch, coalesce(s.seq, 0) AS old_seq
        FROM gateway g LEFT JOIN {progress} s ON s.community_id = g.community_id AND s.gateway_id = g.id
        WHERE g.community_id = $1 AND (g.epoch, g.acked) > (coalesce(s.epoch, 0), coalesce(s.seq, 0))
    )
    SELECT b.id AS gateway_id, p.*,
           CASE WHEN count(p.seq) OVER each < $2 THEN b.epoch ELSE max(p.epoch) OVER each END AS mark_epoch,
           CASE WHEN count(p.seq) OVER each < $2 THEN b.acked ELSE last_value(p.seq) OVER each END AS mark_seq,
           count(p.seq) OVER each = $2 AS more
    FROM b LEFT JOIN LATERAL (
        SELECT p.epoch, p.seq, {columns}
        FROM passage p
        WHERE p.community_id = $1 AND p.gateway_id = b.id
          AND (p.epoch, p.seq) > (b.old_epoch, b.old_seq) AND (p.epoch, p.seq) <= (b.epoch, b.acked)
          AND {only}
        ORDER BY p.epoch, p.seq LIMIT $2
    ) p ON true
    WINDOW each AS (PARTITION BY b.id ORDER BY p.epoch, p.seq ROWS BETWEEN UNBOUNDED PRECEDING AND UNBOUNDED FOLLOWING)
    """  # noqa: S608 - text from here


def marks(rows: Iterable[Any]) -> dict[int, tuple[int, int]]:
    """Return the marks of the gateways in what ``unread`` found."""
    return {row["gateway_id"]: (row["mark_epoch"], row["mark_seq"]) for row in rows}


async def mark(connection: Connection, progress: str, community_id: int, read: Mapping[int, tuple[int, int]]) -> None:
    """Note up to which event, as epoch and seq, each gateway's passages were read."""
    if not read:
        return
    epochs, seqs = zip(*read.values(), strict=True)
    await connection.execute(
        f"""
        INSERT INTO {progress} (community_id, gateway_id, epoch, seq)
        SELECT $1, m.* FROM unnest($2::bigint[], $3::bigint[], $4::bigint[]) AS m
        ON CONFLICT (community_id, gateway_id) DO UPDATE SET epoch = excluded.epoch, seq = excluded.seq
        """,  # noqa: S608 - a name from here
        community_id,
        list(read),
        epochs,
        seqs,
    )
