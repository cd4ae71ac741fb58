"""What each kind of mail says, in the reader's language, from what the outbox kept of it. No I/O."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import datetime
from zoneinfo import ZoneInfo

from parkmesh.server.identity import password_links
from parkmesh.server.mail import notice_contents
from parkmesh.server.mail.content import Content, Payload
from parkmesh.server.notifications import preferences
from parkmesh.server.people import invitations
from parkmesh.server.web import links
from parkmesh.server.web.language import Language
from parkmesh.server.webhooks import stopping


class UnknownKindError(ValueError):
    """The outbox holds a kind of mail that this release doesn't know."""


def _invitation(payload: Payload, reader: Language, site: str) -> Content:
    community = payload["community"]
    until = reader.moment(datetime.fromisoformat(payload["until"]), ZoneInfo(payload["zone"]))
    after = [reader.gettext("The link works until %(moment)s, once.", moment=until)]
    if code := payload.get("code"):
        after.append(
            reader.gettext(
                "You can't open the link? Go to %(address)s and enter your e-mail address and the code %(code)s.",
                address=f"{site}/{links.JOIN}",
                code=code,
            )
        )
    after.append(reader.gettext("You don't know this community? Then ignore this e-mail: nothing happens."))
    return Content(
        subject=reader.gettext("Invitation to %(community)s", community=community),
        paragraphs=(
            reader.gettext("%(community)s invites you to its parking service.", community=community),
            reader.gettext("There you register the plates that the gates open for, book spaces, and invite visitors."),
        ),
        link=(reader.gettext("Accept the invitation"), f"{site}/{links.JOIN}/{payload['token']}"),
        after=tuple(after),
    )


def _password_link(payload: Payload, reader: Language, site: str) -> Content:
    return Content(
        subject=reader.gettext("Your new password"),
        paragraphs=(reader.gettext("You asked for a new password for the parking service."),),
        link=(reader.gettext("Set a new password"), f"{site}/{links.PASSWORD}/{payload['token']}"),
        after=(
            reader.gettext(
                "The link works for %(minutes)s minutes, once.",
                minutes=int(password_links.LIFE.total_seconds() // 60),
            ),
            reader.gettext("The new password signs you out on all devices."),
            reader.gettext("You didn't ask for this? Then ignore this e-mail: your password stays as it is."),
        ),
    )


def _webhook_stopped(payload: Payload, reader: Language, site: str) -> Content:
    why = (
        reader.gettext("The receiver answered that it is gone for good (410).")
        if payload["why"] == "gone"
        else reader.gettext("The receiver has taken nothing for more than three days.")
    )
    return Content(
        subject=(
            reader.gettext("Webhook of %(community)s switched off", community=payload["community"])
            if payload["community"]
            else reader.gettext("Webhook of the desk switched off")
        ),
        paragraphs=(
            reader.gettext("Nothing more is sent to %(url)s.", url=payload["url"]),
            why,
            reader.gettext("Is the receiver back? Then switch the webhook on again, and replay what it missed."),
        ),
        link=(reader.gettext("Open the webhook"), f"{site}{payload['path']}"),
    )


_KINDS: Mapping[str, Callable[[Payload, Language, str], Content]] = {
    invitations.MAIL: _invitation,
    password_links.MAIL: _password_link,
    stopping.MAIL: _webhook_stopped,
}
HOLD_SECRETS = frozenset({invitations.MAIL, password_links.MAIL})
"""Kinds with a link that opens something: what they were made of is not kept once they were given up."""


def of(kind: str, payload: Payload, reader: Language, site: str, unsubscribe: str | None = None) -> Content:
    """Return what a mail says; ``site`` is the public address of the service, ``unsubscribe`` the address that ends
    mails of this kind. Raises ``UnknownKindError``."""
    notice = preferences.known(kind)
    if notice is None and kind not in _KINDS:
        raise UnknownKindError(kind)
    make = notice_contents.KINDS[notice] if notice else _KINDS[kind]
    content = make(payload, reader, site)
    if unsubscribe:
        end = reader.gettext("You don't want these e-mails any more? End them: %(address)s", address=unsubscribe)
        content = replace(content, after=(*content.after, end))
    return content
