"""Releases for gateways that fetch them: the manifest, the parts, and what a gateway reports of one.

Downloads are few at a time and small each, so that events and heartbeats never wait for them: who is turned away comes
back later (``Retry-After``). The parts that were asked for last stay in memory, since thousands of gateways ask for the
same ones.
"""

import asyncio
import logging
from collections import OrderedDict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from parkmesh.protocol.releases import PartsWanted, Report, frames
from parkmesh.server.db import database
from parkmesh.server.edge import ingest
from parkmesh.server.edge.requests import body_of, identified, token_of
from parkmesh.server.http.problems import Problem

AT_ONCE = 8
"""Downloads in work at a time on one server."""
READING = 2
"""Of these, how many use the database at a time: it has few connections, which events and heartbeats need."""
AGAIN_S = (10, 60)
"""Bounds of the seconds after which a gateway comes back that was turned away."""
ANSWER_BYTES = 256 * 1024
"""Parts are added to an answer until it has this size: what a slow line brings in a few seconds."""
CACHE_BYTES = 16 * 1024 * 1024

_IDENTIFY = "SELECT * FROM edge_identify($1)"
_wanted = msgspec.json.Decoder(PartsWanted)
_report = msgspec.json.Decoder(Report)
_log = logging.getLogger(__name__)


class Parts:
    """Parts by their digests, of which the last ones stay in memory."""

    def __init__(self, cache_bytes: int = CACHE_BYTES) -> None:
        self._most = cache_bytes
        self._held: OrderedDict[bytes, bytes] = OrderedDict()
        self._bytes = 0
        self.reading = asyncio.Semaphore(READING)

    async def read(self, connection: database.Connection, digests: list[bytes]) -> list[tuple[bytes, bytes]]:
        """Return the first of the parts, as many as fit in an answer and at least one; raise ``Problem`` 404."""
        found: list[tuple[bytes, bytes]] = []
        size = 0
        for digest in digests:
            content = self._held.get(digest)
            if content is None:
                content = await connection.fetchval(
                    "SELECT content FROM gateway_release_part WHERE sha256 = $1", digest
                )
                if content is None:
                    raise Problem(404, f"There is no part {digest.hex()}.")
                self._keep(digest, content)
            else:
                self._held.move_to_end(digest)
            if found and size + len(content) > ANSWER_BYTES:
                break
            found.append((digest, content))
            size += len(content)
        return found

    def _keep(self, digest: bytes, content: bytes) -> None:
        if len(content) > self._most or digest in self._held:
            return
        self._held[digest] = content
        self._bytes += len(content)
        while self._bytes > self._most:
            self._bytes -= len(self._held.popitem(last=False)[1])


@asynccontextmanager
async def _reading(request: Request) -> AsyncIterator[database.Connection]:
    """Open a transaction that only reads, when it is this download's turn."""
    async with (
        request.app.state.parts.reading,
        database.acquired(request.app.state.pool) as connection,
        connection.transaction(readonly=True),
    ):
        yield connection


async def get_release(request: Request) -> Response:
    """Answer with the signature and the compressed manifest of a release."""
    token, serial = token_of(request), request.path_params["serial"]
    if serial > 2**53:
        raise Problem(404, "There is no such release.")
    async with _reading(request) as connection:
        identified(await connection.fetchrow(_IDENTIFY, token))
        row = await connection.fetchrow("SELECT signature, manifest FROM gateway_release WHERE serial = $1", serial)
    if row is None:
        raise Problem(404, "There is no such release.")
    return Response(row["signature"] + row["manifest"], media_type="application/octet-stream")


async def post_parts(request: Request) -> Response:
    """Answer with parts. POST, since the digests of many don't fit in an address; it changes nothing."""
    token = token_of(request)
    wanted = await body_of(request, _wanted.decode)
    digests = [bytes.fromhex(part) for part in dict.fromkeys(wanted.parts)]
    async with _reading(request) as connection:
        identified(await connection.fetchrow(_IDENTIFY, token))
        found = await request.app.state.parts.read(connection, digests)
    return Response(frames(found), media_type="application/octet-stream")


async def post_report(request: Request) -> Response:
    """Note how it went with the release that the gateway should take. A report on another one changes nothing."""
    token = token_of(request)
    report = await body_of(request, _report.decode)
    async with database.acquired(request.app.state.pool) as connection, connection.transaction():
        community_id, gateway_id = identified(await connection.fetchrow(_IDENTIFY, token))
        changed = await connection.fetchval(
            """
            UPDATE gateway_release_order SET state = $4, reason = $5, reported_at = now()
            WHERE community_id = $1 AND gateway_id = $2 AND serial = $3 AND state = 'wanted' RETURNING serial
            """,
            *(community_id, gateway_id, report.serial),
            "wanted" if report.result == "not taken" else report.result,
            ingest.storable(report.reason),
        )
    if changed is not None and report.result != "kept":
        fields = {"gateway": gateway_id, "serial": report.serial, "result": report.result, "reason": report.reason}
        _log.warning("a gateway did not take its release", extra={"fields": fields})
    return Response(status_code=204)
