"""The folder of the lab's mails, a file for each as it came, and how a person reads them."""

import secrets
from datetime import datetime
from email import message_from_bytes
from email.message import EmailMessage
from email.policy import default
from pathlib import Path

HEADERS = ("From", "To", "Reply-To", "Date", "Subject")


def keep(folder: Path, content: bytes, now: datetime) -> Path:
    """Keep a mail; the names of files sort by the time at which mails came. Only the owner may read them: a mail may
    hold a link that opens an account."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    path = folder / f"{now:%Y%m%dT%H%M%S.%fZ}-{secrets.token_hex(3)}.eml"
    temporary = path.with_suffix(".new")
    temporary.touch(mode=0o600)
    temporary.write_bytes(content)
    temporary.replace(path)
    return path


def files(folder: Path) -> list[Path]:
    """The files of all mails, the oldest first."""
    return sorted(folder.glob("*.eml"))


def read(path: Path) -> EmailMessage:
    mail = message_from_bytes(path.read_bytes(), policy=default)
    assert isinstance(mail, EmailMessage)
    return mail


def body(mail: EmailMessage) -> str:
    """The text of a mail, links and all, with line ends as in files; its HTML where it has no text."""
    part = mail.get_body(("plain", "html"))
    return "\n".join(str(part.get_content()).splitlines()) if isinstance(part, EmailMessage) else ""


def as_text(mail: EmailMessage) -> str:
    """What a person reads: some headers and the text. Nothing that a terminal would take for a command."""
    head = [f"{name + ':':10}{mail[name]}" for name in HEADERS if mail[name]]
    lines = [*head, "", *body(mail).strip().splitlines()]
    return "\n".join("".join(char for char in line if char.isprintable()).rstrip() for line in lines)
