"""The worker that sends the outbox's mails. Every server runs one; none of them takes what another has."""

import asyncio
import logging

from parkmesh.server.db import database
from parkmesh.server.mail import composing, contents, transport
from parkmesh.server.notifications import preferences, unsubscribing
from parkmesh.server.notifications.unsubscribing import Unsubscribing
from parkmesh.server.outbox import messages
from parkmesh.server.outbox.due_worker import IDLE_S, DueWorker, look_again_s
from parkmesh.server.outbox.messages import Message
from parkmesh.server.settings import MailSettings
from parkmesh.server.web import links
from parkmesh.server.web.language import language

BATCH = 50
"""Mails over one connection."""

_log = logging.getLogger(__name__)


class MailWorker(DueWorker):
    """``settings`` None: the deployment sends no mails, and those that wait are deleted. ``site`` is the service's
    public address, ``secret`` that of the servers."""

    def __init__(self, pool: database.Pool, settings: MailSettings | None, site: str, secret: str) -> None:
        super().__init__("mails")
        self._pool = pool
        self._settings = settings
        self._site = site.rstrip("/")
        self._secret = secret

    async def send_due(self) -> float:
        """Send what is due; return the seconds after which to look again."""
        if self._settings is None:
            await messages.drop_mails(self._pool)
            return IDLE_S
        taken = await messages.take(self._pool, BATCH)
        if taken:
            await self._send(self._settings, taken)
            return 0.0
        return look_again_s(await messages.next_due_s(self._pool))

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
