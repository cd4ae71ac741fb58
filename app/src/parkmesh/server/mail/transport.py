"""Sending mails over SMTP. It blocks: the worker runs it on a thread."""

import smtplib
import ssl
from collections.abc import Iterable
from email.message import EmailMessage

from parkmesh.server.settings import MailSettings

TIMEOUT_S = 30.0


class TransportError(Exception):
    """A mail was not sent. ``final``: the server will never take it."""

    def __init__(self, text: str, *, final: bool = False) -> None:
        super().__init__(text)
        self.final = final


def _connect(settings: MailSettings) -> smtplib.SMTP:
    context = ssl.create_default_context()
    if settings.tls == "always":
        server: smtplib.SMTP = smtplib.SMTP_SSL(settings.host, settings.port, timeout=TIMEOUT_S, context=context)
    else:
        server = smtplib.SMTP(settings.host, settings.port, timeout=TIMEOUT_S)
    if settings.tls == "start":
        server.starttls(context=context)
    if settings.user is not None and settings.password is not None:
        server.login(settings.user, settings.password)
    return server


def send(settings: MailSettings, mails: Iterable[EmailMessage]) -> list[TransportError | None]:
    """Send mails over one connection; return for each None, or why it was not sent."""
    outcomes: list[TransportError | None] = []
    mails = list(mails)
    try:
        server = _connect(settings)
    except (OSError, smtplib.SMTPException) as error:
        return [TransportError(_describe(error))] * len(mails)
    try:
        for mail in mails:
            outcomes.append(_send_one(server, mail))
    finally:
        try:
            server.quit()
        except (OSError, smtplib.SMTPException):
            server.close()
    return outcomes


def _send_one(server: smtplib.SMTP, mail: EmailMessage) -> TransportError | None:
    try:
        server.send_message(mail)
    except smtplib.SMTPRecipientsRefused as error:
        codes = [code for code, _ in error.recipients.values()]
        return TransportError(_answer(*next(iter(error.recipients.values()))), final=all(code >= 500 for code in codes))
    except smtplib.SMTPResponseException as error:
        # The server refused sender or content; what comes after may still go through.
        return TransportError(_answer(error.smtp_code, error.smtp_error), final=error.smtp_code >= 500)
    except (OSError, smtplib.SMTPException, ValueError) as error:
        return TransportError(_describe(error), final=isinstance(error, ValueError))
    return None


def _answer(code: int, text: bytes | str) -> str:
    return f"{code} {text.decode('ascii', 'replace') if isinstance(text, bytes) else text}"


def _describe(error: Exception) -> str:
    """Return what went wrong without what was sent: an answer to a login may repeat a part of it."""
    if isinstance(error, smtplib.SMTPAuthenticationError):
        return f"the mail server refuses user and password ({error.smtp_code})"
    return f"{type(error).__name__}: {error}"
