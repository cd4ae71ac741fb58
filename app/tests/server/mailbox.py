"""A real SMTP server on loopback that keeps what it is sent, for tests."""

import asyncio
import email
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from email.message import EmailMessage
from email.policy import default
from typing import Any, cast

from aiosmtpd.controller import Controller

SENDER = "Parking <parking@service.example>"


class Mailbox:
    """``answers`` are given to the next mails instead of taking them."""

    def __init__(self) -> None:
        self.mails: list[EmailMessage] = []
        self.answers: list[str] = []
        self.port = 0

    @property
    def url(self) -> str:
        return f"smtp://127.0.0.1:{self.port}"

    @property
    def settings(self) -> dict[str, str]:
        """The environment of a server that sends its mails here, as the service of http://park.test."""
        return {"PARKMESH_SMTP_URL": self.url, "PARKMESH_MAIL_FROM": SENDER, "PARKMESH_PUBLIC_URL": "http://park.test"}

    async def handle_DATA(self, _server: Any, _session: Any, envelope: Any) -> str:
        if self.answers:
            return self.answers.pop(0)
        self.mails.append(cast(EmailMessage, email.message_from_bytes(envelope.content, policy=default)))
        return "250 taken"

    async def handle_RCPT(self, _server: Any, _session: Any, envelope: Any, address: str, _options: Any) -> str:
        if address.startswith("nobody@"):
            return "550 no such mailbox"
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def received(self, count: int) -> list[EmailMessage]:
        """Wait until ``count`` mails came; return them."""
        for _ in range(200):
            if len(self.mails) >= count:
                break
            await asyncio.sleep(0.05)
        assert len(self.mails) == count, [mail["Subject"] for mail in self.mails]
        return self.mails


class _Reporting(Controller):
    def _trigger_server(self) -> None:
        # The port is known only now: 0 was asked for.
        assert self.server is not None
        self.port = self.server.sockets[0].getsockname()[1]
        super()._trigger_server()


@asynccontextmanager
async def mailbox(tls: ssl.SSLContext | None = None, **options: Any) -> AsyncIterator[Mailbox]:
    """Run an SMTP server for as long as the context lasts; ``options`` are those of aiosmtpd."""
    box = Mailbox()
    controller = _Reporting(box, hostname="127.0.0.1", port=0, tls_context=tls, **options)
    await asyncio.to_thread(controller.start)
    box.port = controller.port
    try:
        yield box
    finally:
        await asyncio.to_thread(controller.stop)


def text(mail: EmailMessage) -> str:
    """Return the plain text of a mail."""
    body = mail.get_body(("plain",))
    assert isinstance(body, EmailMessage)
    return str(body.get_content())


def html(mail: EmailMessage) -> str:
    """Return the HTML of a mail."""
    body = mail.get_body(("html",))
    assert isinstance(body, EmailMessage)
    return str(body.get_content())
