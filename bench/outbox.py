"""Measure what telling people costs: events beside ingestion, and how soon mails are sent.

* events: ingestion as fast as it goes, in turns without and with ``RATE`` acts a minute beside it, each of which writes
  an event that the server makes messages of. The turns alternate in one run, and their ratio is printed.
* mails: that many mails in the outbox at once, and the time until a real SMTP server has all of them.

Usage: python bench/outbox.py [--seconds 8] [--pairs 3] [--mails 1000]
"""

import argparse
import asyncio
import contextlib
import statistics
import time
from typing import Any

import asyncpg
import ingestion
from _deployment import Database, Server, postgres, report, server
from aiosmtpd.controller import UnthreadedController
from ingestion import GATEWAYS, Gateway, show, superuser
from parkmesh.server.db import database
from parkmesh.server.outbox import events, messages
from parkmesh.server.people import invitations

RATE = 10_000
"""Events a minute."""


class Box:
    """Counts the mails that it takes, as often as their receiver knows each by its id."""

    def __init__(self) -> None:
        self.ids: list[str] = []

    async def handle_DATA(self, _server: Any, _session: Any, envelope: Any) -> str:
        head: bytes = envelope.content.partition(b"\r\n\r\n")[0]
        self.ids += [line.decode() for line in head.split(b"\r\n") if line.lower().startswith(b"message-id:")]
        return "250 taken"


async def acts(base: Database, ended: asyncio.Event) -> int:
    """Write ``RATE`` events a minute, one to a transaction as acts do, until ``ended``; return how many."""
    done = 0
    async with database.create_pool(base.addresses.app, "acts", 2) as pool:
        begin = time.perf_counter()
        while not ended.is_set():
            community_id = done % GATEWAYS + 1
            async with database.in_community(pool, community_id) as connection:
                await events.record(
                    connection, community_id, "presence.corrected", f"presence/{done}", {"by": "user:1"}
                )
            done += 1
            if (ahead := begin + done * 60 / RATE - time.perf_counter()) > 0:
                await asyncio.sleep(ahead)
    return done


async def turn(target: Server, base: Database, gateways: list[Gateway], seconds: float, *, beside: bool) -> float:
    """Return the events a second that are ingested at the ceiling."""
    ended, acting = asyncio.Event(), None
    if beside:
        acting = asyncio.create_task(acts(base, ended))
    before, begin = sum(gateway.acked for gateway in gateways), time.perf_counter()
    with contextlib.redirect_stdout(None):
        await ingestion.ceiling(target, base, gateways, seconds)
    rate = (sum(gateway.acked for gateway in gateways) - before) / (time.perf_counter() - begin)
    ended.set()
    made = await acting if acting else 0
    show("with events beside it" if beside else "without events", f"{rate:.0f} events/s ingested")
    if beside:
        show("  events written beside it", f"{made}, {made / seconds * 60:.0f} a minute")
    return rate


async def routed(base: Database) -> float:
    """Return the seconds until messages were made of all events."""
    begin = time.perf_counter()
    connection = await asyncpg.connect(superuser(base))
    while await connection.fetchval("SELECT count(*) FROM event WHERE routed_at IS NULL"):  # noqa: ASYNC110 - a database
        await asyncio.sleep(0.1)
    await connection.close()
    return time.perf_counter() - begin


async def mailed(base: Database, box: Box, count: int) -> float:
    """Return the seconds until the mails that are put into the outbox at once have all arrived."""
    connection = await asyncpg.connect(superuser(base))
    payload = {"community": "C", "until": "2030-01-01T00:00:00+00:00", "zone": "UTC", "token": "T", "code": None}
    begin = time.perf_counter()
    mails = [messages.Mail(f"p{number}@home.example", "es", payload) for number in range(count)]
    await messages.mail(connection, 1, invitations.MAIL, mails)
    await connection.close()
    while len(box.ids) < count:  # noqa: ASYNC110 - how many there are says whether all are
        await asyncio.sleep(0.05)
    return time.perf_counter() - begin


async def measure(base: Database, seconds: float, pairs: int, mails: int) -> None:
    await ingestion.seed(base, GATEWAYS)
    box = Box()
    smtp = UnthreadedController(box, hostname="127.0.0.1", port=0, loop=asyncio.get_running_loop())
    listening = await smtp._create_server()
    port = listening.sockets[0].getsockname()[1]
    environment = {"PARKMESH_SMTP_URL": f"smtp://127.0.0.1:{port}", "PARKMESH_MAIL_FROM": "p@bench.example"}
    gateways = [Gateway(number) for number in range(1, GATEWAYS + 1)]
    ratios = []
    with server(base, environment) as target:
        for _ in range(pairs):
            alone = await turn(target, base, gateways, seconds, beside=False)
            beside = await turn(target, base, gateways, seconds, beside=True)
            ratios.append(beside / alone)
        show("ingestion with events, as a ratio to without, median", f"{statistics.median(ratios):.3f}")
        show("messages were made of all events after", f"{await routed(base):.1f} s more")
        report(f"{mails} mails have arrived after", await mailed(base, box, mails), "s", 60)
        show("  mails twice", str(len(box.ids) - len(set(box.ids))))
    listening.close()


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--seconds", type=float, default=8)
    parser.add_argument("--pairs", type=int, default=3)
    parser.add_argument("--mails", type=int, default=1000)
    arguments = parser.parse_args()
    with postgres() as base:
        asyncio.run(measure(base, arguments.seconds, arguments.pairs, arguments.mails))


if __name__ == "__main__":
    main()
