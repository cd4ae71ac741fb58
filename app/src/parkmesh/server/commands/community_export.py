"""``parkmesh admin export``: all that a community would want to keep, in one ZIP file, before it is offboarded.

The lists are the CSV files of the desk's and the administrators' exports; what has no list there is a file of JSON
lines under ``tables``. Secrets (tokens, keys, addresses of webhooks) and what only the machinery needs stay out.
"""

import json
import os
import zipfile
from pathlib import Path
from typing import get_args

import msgspec

from parkmesh.server import audit
from parkmesh.server.communities import community_reads, gateway_changes
from parkmesh.server.communities.gateway_changes import CommunityState
from parkmesh.server.db import database
from parkmesh.server.people import csv_export

TABLES = (
    "bar",
    "community_rules",
    "counter",
    "gap",
    "passage_count",
    "permit",
    "presence_correction",
    "space_request",
    "violation",
    "violation_step",
    "visitor_nights_exception",
    "waiting",
)
"""What has no list of its own."""
BATCH = 1000
_SYSTEM = audit.System("admin")


async def export(pool: database.Pool, community: str, path: Path) -> CommunityState:
    """Write the file, readable by its owner alone; return what it is of. The trail notes that it was given out.

    Raises ``gateway_changes.RefusedError`` for an unknown community; a file that isn't finished doesn't stay.
    """
    async with database.acquired(pool) as connection, database.provisioning(connection):
        state = await gateway_changes.read(connection, community)
        identity = await gateway_changes.community_id(connection, community)
        zone = await community_reads.zone(connection, identity)
        await audit.record(connection, _SYSTEM, identity, "community.export", f"community/{identity}")
    new = path.with_name(path.name + ".new")
    try:
        with (
            os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file,
            zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive,
        ):
            archive.writestr("community.json", msgspec.json.format(msgspec.json.encode(state)))
            for kind in get_args(csv_export.Kind):
                with archive.open(f"{kind}.csv", "w", force_zip64=True) as entry:
                    async for part in csv_export.write(pool, identity, kind, zone):
                        entry.write(part)
            for table in TABLES:
                with archive.open(f"tables/{table}.jsonl", "w", force_zip64=True) as entry:
                    async with database.in_community(pool, identity, read_only=True) as connection:
                        query = f"SELECT to_jsonb(t) - 'community_id' AS row FROM {table} t WHERE community_id = $1"  # noqa: S608 - a name of TABLES
                        async for record in connection.cursor(query, identity, prefetch=BATCH):
                            line = json.dumps(json.loads(record["row"]), ensure_ascii=False)
                            entry.write(line.encode() + b"\n")
        new.replace(path)
    finally:
        new.unlink(missing_ok=True)
    return state
