"""Put a signed release where gateways fetch it, and note which gateways should take it.

The servers hold the newest releases only: publishing removes those that no gateway waits for, and parts that no release
names. Nobody checks the signature here, as nobody here could vouch for the key: gateways check it.
"""

import zlib
from typing import Annotated

import msgspec
from msgspec import Meta, Struct

from parkmesh.protocol import releases
from parkmesh.server.db import database

KEPT = 4
"""Releases of each platform that stay, beside those that gateways wait for."""
WAITING_MOST = 12
"""Releases of each platform that stay at most: the oldest orders end."""


class DocumentError(Exception):
    """The document can't be published; the text says why."""


class Part(Struct, frozen=True, forbid_unknown_fields=True):
    sha256: releases.Digest
    content: bytes
    """Compressed (zlib)."""


class Publication(Struct, frozen=True, forbid_unknown_fields=True):
    """What ``scripts/sign_release.py`` prints, and ``gateways``: names by community (an empty list: all of it)."""

    manifest: bytes
    """Compressed (zlib)."""
    signature: bytes
    parts: list[Part]
    gateways: dict[Annotated[str, Meta(min_length=1, max_length=63)], list[str]] = {}


class Published(Struct, frozen=True):
    """``ordered``: gateways that should take the release; ``unknown``: those that the application doesn't have."""

    changed: bool
    serial: int
    release: str
    ordered: int
    unknown: list[str]
    new_parts: int
    new_bytes: int
    pruned: int


def read(document: bytes) -> tuple[Publication, releases.Manifest]:
    """Return a publication and its manifest; raise ``DocumentError`` for one that isn't whole."""
    try:
        publication = msgspec.json.decode(document, type=Publication)
        if len(publication.signature) != releases.SIGNATURE_BYTES:
            raise DocumentError(f"the signature has {len(publication.signature)} bytes, not {releases.SIGNATURE_BYTES}")
        manifest = releases.read_manifest(releases.unpack(publication.manifest, releases.MAX_MANIFEST))
        for part in publication.parts:
            releases.checked(part.sha256, part.content)
    except (msgspec.DecodeError, ValueError) as error:
        raise DocumentError(f"the document can't be published: {error}") from None
    missing = {file.sha256 for file in manifest.files} - {part.sha256 for part in publication.parts}
    if missing:
        raise DocumentError(f"the document lacks {len(missing)} parts that its manifest names")
    return publication, manifest


_ORDER = """
INSERT INTO gateway_release_order AS old (community_id, gateway_id, serial)
SELECT g.community_id, g.id, $1 FROM gateway g JOIN community c ON c.id = g.community_id
WHERE g.token_ends_at IS NULL AND c.name = $2 AND (cardinality($3::text[]) = 0 OR g.name = ANY ($3))
ON CONFLICT (community_id, gateway_id) DO UPDATE
    SET serial = excluded.serial, state = 'wanted', reason = '', ordered_at = now(), reported_at = NULL
RETURNING (SELECT name FROM gateway g WHERE g.community_id = old.community_id AND g.id = old.gateway_id)
"""


async def publish(connection: database.Connection, publication: Publication, manifest: releases.Manifest) -> Published:
    """Store a release and order it for its gateways, all or nothing. Raise ``DocumentError`` for a number that isn't
    above the newest one of its platform."""
    async with connection.transaction():
        await database.set_scope(connection, "server")
        await connection.execute("SELECT pg_advisory_xact_lock(hashtext('gateway_release'))")
        newest = await connection.fetchval(
            "SELECT max(serial) FROM gateway_release WHERE python = $1 AND arch = $2", manifest.python, manifest.arch
        )
        if newest is not None and manifest.serial <= newest:
            raise DocumentError(f"number {manifest.serial} isn't above {newest}: a later release is published already")
        named = {file.sha256 for file in manifest.files}
        new = await connection.fetch(
            """
            INSERT INTO gateway_release_part (sha256, content)
            SELECT sha256, content FROM unnest($1::bytea[], $2::bytea[]) AS part(sha256, content)
            ON CONFLICT (sha256) DO NOTHING RETURNING octet_length(content) AS size
            """,
            [bytes.fromhex(part.sha256) for part in publication.parts if part.sha256 in named],
            [part.content for part in publication.parts if part.sha256 in named],
        )
        await connection.execute(
            """
            INSERT INTO gateway_release (serial, release, python, arch, manifest, signature)
            VALUES ($1, $2, $3, $4, $5, $6)
            """,
            *(manifest.serial, manifest.release, manifest.python, manifest.arch),
            *(publication.manifest, publication.signature),
        )
        ordered, unknown = 0, []
        for community, names in sorted(publication.gateways.items()):
            found = {row["name"] for row in await connection.fetch(_ORDER, manifest.serial, community, names)}
            ordered += len(found)
            unknown += [f"{community}/{name}" for name in names if name not in found]
            if not names and not found:
                unknown.append(community)
        pruned = await _prune(connection, manifest)
    return Published(
        *(True, manifest.serial, manifest.release, ordered, unknown),
        *(len(new), sum(row["size"] for row in new), pruned),
    )


async def _prune(connection: database.Connection, manifest: releases.Manifest) -> int:
    """Remove releases that nobody waits for, and parts that no release names; return how many releases."""
    gone = await connection.fetch(
        """
        DELETE FROM gateway_release r USING (
            SELECT serial, row_number() OVER (PARTITION BY python, arch ORDER BY serial DESC) AS place
            FROM gateway_release
        ) AS p
        WHERE p.serial = r.serial AND p.place > $1 AND (p.place > $2 OR NOT EXISTS (
            SELECT FROM gateway_release_order o WHERE o.serial = r.serial AND o.state = 'wanted'))
        RETURNING r.serial
        """,
        KEPT,
        WAITING_MOST,
    )
    if gone:
        named: set[bytes] = set()
        for row in await connection.fetch("SELECT manifest FROM gateway_release"):
            kept = releases.read_manifest(zlib.decompress(row["manifest"]))
            named |= {bytes.fromhex(file.sha256) for file in kept.files}
        await connection.execute("DELETE FROM gateway_release_part WHERE sha256 <> ALL ($1::bytea[])", list(named))
    return len(gone)


class Order(Struct, frozen=True):
    """One gateway's order; times are ISO 8601 in UTC."""

    community: str
    gateway: str
    serial: int
    release: str
    state: str
    reason: str
    ordered_at: str
    reported_at: str | None


async def orders(connection: database.Connection) -> list[Order]:
    """Return what each gateway should take, and how it went."""
    async with connection.transaction(readonly=True):
        await database.set_scope(connection, "server")
        found = await connection.fetch(
            """
            SELECT c.name AS community, g.name AS gateway, o.serial, r.release, o.state, o.reason,
                   to_char(o.ordered_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"') AS ordered_at,
                   to_char(o.reported_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"') AS reported_at
            FROM gateway_release_order o JOIN gateway_release r USING (serial)
            JOIN community c ON c.id = o.community_id
            JOIN gateway g ON g.community_id = o.community_id AND g.id = o.gateway_id
            ORDER BY 1, 2
            """
        )
    return [Order(**dict(row)) for row in found]


async def cancel(connection: database.Connection, gateways: dict[str, list[str]]) -> int:
    """End the orders that gateways haven't carried out (an empty list: of the whole community); return how many."""
    ended = 0
    async with connection.transaction():
        await database.set_scope(connection, "server")
        for community, names in gateways.items():
            ended += len(
                await connection.fetch(
                    """
                    DELETE FROM gateway_release_order o USING gateway g, community c
                    WHERE g.community_id = o.community_id AND g.id = o.gateway_id AND c.id = g.community_id
                      AND o.state = 'wanted' AND c.name = $1 AND (cardinality($2::text[]) = 0 OR g.name = ANY ($2))
                    RETURNING 1
                    """,
                    community,
                    names,
                )
            )
    return ended
