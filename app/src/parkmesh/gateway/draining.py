"""``parkmesh gateway drain``: bring what a stopped gateway still holds to a server, before its spool goes.

No camera is listened to and no barrier is moved: a message that the agent hadn't decided is recorded as it is decided
now, and what would have opened is recorded as not opened.
"""

import asyncio
from contextlib import suppress
from pathlib import Path

import httpx
from msgspec import Struct

from parkmesh.gateway.agent import elapsed_ms, now_ms, stored_time
from parkmesh.gateway.config import Config
from parkmesh.gateway.decider import Decider
from parkmesh.gateway.drivers.types import RelayError
from parkmesh.gateway.gates import Relay
from parkmesh.gateway.spool import Spool
from parkmesh.gateway.sync import Sync
from parkmesh.gateway.trusted_clock import TrustedClock

_LOOK_S = 0.1


class Drained(Struct, frozen=True):
    """``backlog``: records that no server has; ``undecided``: messages that could not be decided, such as those of a
    camera that is no longer configured; ``quarantined``: messages that nobody could read. ``error`` is the last failure
    of a server, None where all is sent."""

    sent: int
    backlog: int
    undecided: int
    quarantined: int
    epoch: int
    error: str | None

    @property
    def is_empty(self) -> bool:
        return not self.backlog and not self.undecided


async def drain(config: Config, token: str, within_s: float) -> Drained:
    """Send all records, for at most ``within_s`` seconds. Raises SpoolError where another process uses the spool."""
    spool = Spool(Path(config.spool), now=now_ms(), max_bytes=int(config.spool_max_mb * 1024 * 1024))
    clock = TrustedClock(now_ms, elapsed_ms, stored_time(spool))
    try:
        async with httpx.AsyncClient(trust_env=False, headers={"Authorization": f"Bearer {token}"}) as client:
            decider = Decider(config, spool, _no_pulse, clock=clock)
            try:
                while spool.salvage(clock()):
                    pass
                decider.stop()
                await decider.run()
                sync = Sync(config, spool, decider, client, clock=clock)
                before = spool.counts().backlog
                with suppress(TimeoutError):
                    async with asyncio.timeout(within_s):
                        await sync.push_all(_LOOK_S)
                after = spool.counts()
                error = sync.last_error if after.backlog else None
            finally:
                decider.close()
        # A gap that stands for a refused record may make more of them than there were.
        sent = max(0, before - after.backlog)
        return Drained(sent, after.backlog, after.inbox, after.quarantine, spool.epoch, error)
    finally:
        spool.close(clock())


async def _no_pulse(relay: Relay) -> None:
    raise RelayError(f"{relay.url} gets no pulse while the spool is drained")
