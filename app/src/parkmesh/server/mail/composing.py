"""From a mail's content to the bytes that are sent: text and HTML, with the headers of an automatic message."""

from email.message import EmailMessage
from email.utils import format_datetime, parseaddr
from html import escape

from parkmesh.server.mail.content import Content
from parkmesh.server.outbox.messages import Message
from parkmesh.server.settings import MailSettings

_STYLE = (
    "font-family:system-ui,sans-serif;font-size:16px;line-height:1.5;color:#17211f;max-width:34rem;margin:1.5rem auto"
)
_BUTTON = (
    "display:inline-block;padding:0.7rem 1.2rem;border-radius:10px;background:#0b6b57;color:#ffffff;"
    "text-decoration:none;font-weight:600"
)


def compose(message: Message, content: Content, settings: MailSettings, unsubscribe: str | None = None) -> EmailMessage:
    """Return the mail. Its ``Message-ID`` is that of the event, the same when it is sent again. ``unsubscribe`` is the
    address that ends mails of this kind, None for those that can't be ended."""
    mail = EmailMessage()
    mail["Subject"] = " ".join(content.subject.split())
    mail["From"] = settings.sender
    mail["To"] = message.recipient
    if settings.reply_to:
        mail["Reply-To"] = settings.reply_to
    mail["Date"] = format_datetime(message.created_at)
    domain = parseaddr(settings.sender)[1].rpartition("@")[2]
    mail["Message-ID"] = f"<{message.event_id}@{domain}>"
    # RFC 3834: no vacation notice answers it.
    mail["Auto-Submitted"] = "auto-generated"
    if unsubscribe:
        mail["List-Unsubscribe"] = f"<{unsubscribe}>"
        mail["List-Unsubscribe-Post"] = "List-Unsubscribe=One-Click"
    mail.set_content(as_text(content))
    mail.add_alternative(as_html(content, message.language), subtype="html")
    if content.calendar is not None:
        mail.add_attachment(
            content.calendar,
            "text",
            "calendar",
            filename="booking.ics",
            params={"charset": "utf-8", "method": "PUBLISH"},
        )
    # Last: the content's own headers are taken away when it becomes a part.
    mail["Content-Language"] = message.language
    return mail


def as_text(content: Content) -> str:
    """Return the plain text."""
    link = [f"{content.link[0]}:\n{content.link[1]}"] if content.link else []
    return "\n\n".join([*content.paragraphs, *link, *content.after]) + "\n"


def as_html(content: Content, language: str) -> str:
    """Return the same as a page that needs nothing from elsewhere."""

    def paragraph(text: str) -> str:
        return f"<p>{escape(text)}</p>"

    link = ""
    if content.link:
        does, address = content.link
        link = f'<p><a href="{escape(address)}" style="{_BUTTON}">{escape(does)}</a></p>'
    body = "".join([*map(paragraph, content.paragraphs), link, *map(paragraph, content.after)])
    return (
        f'<!doctype html><html lang="{language}"><head><meta charset="utf-8"><title>{escape(content.subject)}</title>'
        f'</head><body style="{_STYLE}">{body}</body></html>'
    )
