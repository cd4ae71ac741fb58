"""The worker that sends the outbox's mails. Every server runs one; none of them takes what another has."""

import asyncio
import contextlib
import logging

from parkmesh.server.db import database
from parkmesh.server.mail import composing, contents, transport
from parkmesh.server.notifications import preferences, unsubscribing
from parkmesh.server.notifications.unsubscribing import Unsubscribing
from parkmesh.server.outbox import messages
from parkmesh.server.outbox.messages import Message
from parkmesh.server.settings import MailSettings
from parkmesh.server.telemetry import logs
from parkmesh.server.web import links
from parkmesh.server.web.language import language

BATCH = 50
"""Mails over one connection."""
IDLE_S = 60.0
"""Seconds after which the worker looks without having been woken: another server may have died with what it took."""
AGAIN_S = 5.0

_log = logging.getLogger(__name__)


class MailWorker:
    """``settings`` None: the deployment sends no mails, and those that wait are deleted. ``site`` is the service's
    public address, ``secret`` that of the servers."""

    def __init__(self, pool: database.Pool, settings: MailSettings | None, site: str, secret: str) -> None:
        self._pool = pool
        self._settings = settings
        self._site = site.rstrip("/")
        self._secret = secret
        self._woken = asyncio.Event()
        self._woken.set()

    def wake(self) -> None:
        """Look at once: a mail was put into the outbox."""
        self._woken.set()

    async def run(self) -> None:
        """Send until cancelled; what was taken is sent to its end first."""
        while True:
            sending = asyncio.ensure_future(self.send_due())
            try:
                again_s = await asyncio.shield(sending)
            except asyncio.CancelledError:
                with contextlib.suppress(Exception):
                    await sending
                raise
            except Exception as error:  # noqa: BLE001 - whatever it was, the next look must not depend on it
                _log.warning("mails could not be sent", extra={"fields": {"cause": logs.describe(error)}})
                again_s = AGAIN_S
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(again_s):
                    await self._woken.wait()
            self._woken.clear()

    async def send_due(self) -> float:
        """Send what is due; return the seconds after which to look again."""
        if self._settings is None:
            await messages.drop_mails(self._pool)
            return IDLE_S
        taken = await messages.take(self._pool, BATCH)
        if taken:
            await self._send(self._settings, taken)
            return 0.0
        due_s = await messages.next_due_s(self._pool)
        return IDLE_S if due_s is None else min(IDLE_S, max(0.1, due_s))

    async def _send(self, settings: MailSettings, taken: list[Message]) -> None:
        composed, good = [], []
        for message in taken:
            try:
                reader, end = language(message.language), self._unsubscribe(message)
                content = contents.of(message.kind, message.payload, reader, self._site, end)
                composed.append(composing.compose(message, content, settings, end))
                good.append(message)
            except contents.UnknownKindError as error:
                # A server of a later release can make it, while the servers are rolled.
                await messages.failed(self._pool, message, f"unknown kind: {error}", final=False, secret=False)
            except Exception as error:  # noqa: BLE001 - one mail that can't be made must not hold up the others
                await self._give_up(message, f"can't be made: {type(error).__name__}: {error}")
        outcomes = await asyncio.to_thread(transport.send, settings, composed)
        await messages.delivered(
            self._pool, [message.id for message, failure in zip(good, outcomes, strict=True) if failure is None]
        )
        for message, failure in zip(good, outcomes, strict=True):
            if failure is None:
                continue
            if failure.final:
                await self._give_up(message, str(failure))
            else:
                secret = message.kind in contents.HOLD_SECRETS
                await messages.failed(self._pool, message, str(failure), final=False, secret=secret)
                _log.warning("a mail was not sent", extra={"fields": {"message": message.id, "cause": str(failure)}})

    def _unsubscribe(self, message: Message) -> str | None:
        """Return the address that ends mails of this kind for the reader, None where they can't be ended."""
        kind = preferences.known(message.kind)
        if kind is None:
            return None
        ended = Unsubscribing(message.payload["user"], message.payload["in"], kind)
        return f"{self._site}/{links.UNSUBSCRIBE}/{unsubscribing.token(self._secret, ended)}"

    async def _give_up(self, message: Message, why: str) -> None:
        secret = message.kind in contents.HOLD_SECRETS
        await messages.failed(self._pool, message, why, final=True, secret=secret)
        _log.error("a mail is given up", extra={"fields": {"message": message.id, "cause": why}})
