"""What mails say that tell of events (``notifications.notices`` has what they are made of). No I/O."""

from collections.abc import Callable, Mapping
from datetime import date, datetime
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo

from parkmesh.domain import ical
from parkmesh.domain.plate_spacing import spaced
from parkmesh.server.mail.content import Content, Payload
from parkmesh.server.notifications.preferences import Kind
from parkmesh.server.web import labels
from parkmesh.server.web.language import N_, Language

_COUNTS = {
    "granted": N_("Vehicles let in or out"),
    "denied": N_("Vehicles refused"),
    "bookings": N_("New bookings"),
    "visitors": N_("New visitor passes"),
    "erasures": N_("People who wait for their data to be erased"),
    "offline": N_("Gateways that are offline"),
}


def _at(payload: Payload, name: str, reader: Language) -> str:
    return reader.moment(datetime.fromisoformat(payload[name]), ZoneInfo(payload["zone"]))


def _span(payload: Payload, reader: Language) -> str:
    begin, end = (datetime.fromisoformat(payload[name]) for name in ("from", "until"))
    return reader.span(begin, end, ZoneInfo(payload["zone"]))


def _where(payload: Payload, reader: Language) -> str:
    if not payload["level"]:
        return reader.gettext("Space %(space)s", space=payload["space"])
    return reader.gettext("Space %(space)s, level %(level)s", space=payload["space"], level=payload["level"])


def _booking(
    payload: Payload, reader: Language, site: str, subject: str, first: str, *, cancelled: bool = False
) -> Content:
    after = []
    if reason := payload.get("reason"):
        after.append(reader.gettext("The reason: %(reason)s", reason=reason))
    return Content(
        subject=subject,
        paragraphs=(first, _where(payload, reader), _span(payload, reader), *after),
        link=(reader.gettext("See the booking"), f"{site}{payload['path']}/book/{payload['booking']}"),
        calendar=ical.calendar([_event(payload, reader, site, cancelled)], payload["community"]),
    )


def _event(payload: Payload, reader: Language, site: str, cancelled: bool) -> ical.Event:
    """Return the booking as the feed of the reader's calendar shows it: programs know it by the same ``uid``."""
    return ical.Event(
        uid=f"booking-{payload['booking']}@{payload['name']}.{urlsplit(site).hostname or 'localhost'}",
        changed_at=datetime.fromisoformat(payload["changed_at"]),
        sequence=payload["changes"],
        start=datetime.fromisoformat(payload["from"]),
        end=datetime.fromisoformat(payload["until"]),
        summary=reader.gettext("Space %(space)s booked", space=payload["space"]),
        location=payload["level"],
        cancelled=cancelled,
    )


def _booking_made(payload: Payload, reader: Language, site: str) -> Content:
    if payload["moved"]:
        subject = reader.gettext("Your booking has a new time: space %(space)s", space=payload["space"])
        first = reader.gettext("Your booking in %(community)s has a new time.", community=payload["community"])
    else:
        subject = reader.gettext("Your booking: space %(space)s", space=payload["space"])
        first = reader.gettext("You have a booking in %(community)s.", community=payload["community"])
    return _booking(payload, reader, site, subject, first)


def _booking_cancelled(payload: Payload, reader: Language, site: str) -> Content:
    subject = reader.gettext("Your booking was cancelled: space %(space)s", space=payload["space"])
    first = reader.gettext("Your booking in %(community)s was cancelled.", community=payload["community"])
    if payload["no_show"]:
        first = reader.gettext(
            "Nobody came for your booking in %(community)s: it has ended.", community=payload["community"]
        )
    return _booking(payload, reader, site, subject, first, cancelled=True)


def _space_offered(payload: Payload, reader: Language, site: str) -> Content:
    until = _at(payload, "held_until", reader)
    if "space_request" in payload:
        return _own_space_offered(payload, reader, site, until)
    return Content(
        subject=reader.gettext("A space is free for you: %(space)s", space=payload["space"]),
        paragraphs=(
            reader.gettext("You wait for a space in %(community)s. This one is free:", community=payload["community"]),
            _where(payload, reader),
            _span(payload, reader),
            reader.gettext("It is held for you until %(moment)s. Then it is offered to the next.", moment=until),
        ),
        link=(reader.gettext("Take the space"), f"{site}{payload['path']}/book"),
    )


def _own_space_offered(payload: Payload, reader: Language, site: str, until: str) -> Content:
    return Content(
        subject=reader.gettext("A space of your own is offered to you: %(space)s", space=payload["space"]),
        paragraphs=(
            reader.gettext(
                "You wait for a space of your own in %(community)s. This one is offered to your unit:",
                community=payload["community"],
            ),
            _where(payload, reader),
            reader.gettext("Answer until %(moment)s. Then it is offered to the next.", moment=until),
        ),
        link=(reader.gettext("Answer the offer"), f"{site}{payload['path']}/own-space"),
    )


def _visitor_arrived(payload: Payload, reader: Language, site: str) -> Content:
    name = payload.get("visitor") or spaced(payload.get("plate") or "") or reader.gettext("Your visitor")
    return Content(
        subject=reader.gettext("%(visitor)s has arrived", visitor=name),
        paragraphs=(
            reader.gettext(
                "%(visitor)s came through %(gate)s in %(community)s: %(moment)s.",
                visitor=name,
                gate=payload["gate"],
                community=payload["community"],
                moment=_at(payload, "at", reader),
            ),
        ),
        link=(reader.gettext("See the visitor pass"), f"{site}{payload['path']}/visitors/{payload['visitor_pass']}"),
    )


def _plate_refused(payload: Payload, reader: Language, site: str) -> Content:
    reason = labels.label(reader, "reason", payload["reason"])
    plate = spaced(payload["plate"])
    page, does = ("visitors", N_("See your visitors")) if payload["of_visitor"] else ("vehicles", N_("See your plates"))
    return Content(
        subject=reader.gettext("%(plate)s was refused at %(gate)s", plate=plate, gate=payload["gate"]),
        paragraphs=(
            reader.gettext(
                "%(gate)s in %(community)s did not open for %(plate)s: %(moment)s.",
                gate=payload["gate"],
                community=payload["community"],
                plate=plate,
                moment=_at(payload, "at", reader),
            ),
            reader.gettext("The reason: %(reason)s", reason=reason),
        ),
        link=(reader.gettext(does), f"{site}{payload['path']}/{page}"),
    )


def _erasure_asked(payload: Payload, reader: Language, site: str) -> Content:
    return Content(
        subject=reader.gettext("A person asks for their data to be erased: %(name)s", name=payload["community"]),
        paragraphs=(
            reader.gettext(
                "A person in %(community)s asks for their data to be erased.", community=payload["community"]
            ),
            reader.gettext("The law gives you one month. Look at what is kept, and erase it."),
        ),
        link=(reader.gettext("See the request"), f"{site}{payload['path']}/people/{payload['resident']}"),
    )


def _gateway_offline(payload: Payload, reader: Language, site: str) -> Content:
    return Content(
        subject=reader.gettext(
            "Gateway %(gateway)s is offline: %(community)s",
            gateway=payload["gateway"],
            community=payload["community"],
        ),
        paragraphs=(
            reader.gettext(
                "Gateway %(gateway)s in %(community)s was last heard on %(moment)s.",
                gateway=payload["gateway"],
                community=payload["community"],
                moment=_at(payload, "heard_at", reader),
            ),
            reader.gettext(
                "It keeps opening its gates by its list. What it sees is kept there until it is online again."
            ),
        ),
        link=(reader.gettext("See the gateways"), f"{site}/gateways"),
    )


def _digest(payload: Payload, reader: Language, site: str) -> Content:
    day = reader.day(date.fromisoformat(payload["day"]), form="EEE d MMM")
    lines = tuple(
        f"{reader.gettext(_COUNTS[name])}: {reader.number(count)}"
        for name, count in payload["counts"].items()
        if name in _COUNTS and count
    )
    return Content(
        subject=reader.gettext("%(community)s on %(day)s", community=payload["community"], day=day),
        paragraphs=(
            reader.gettext("What happened in %(community)s on %(day)s:", community=payload["community"], day=day),
            *lines,
        ),
        link=(reader.gettext("See the community"), f"{site}{payload['path']}"),
    )


KINDS: Mapping[Kind, Callable[[Payload, Language, str], Content]] = {
    "booking-made": _booking_made,
    "booking-cancelled": _booking_cancelled,
    "space-offered": _space_offered,
    "visitor-arrived": _visitor_arrived,
    "plate-refused": _plate_refused,
    "erasure-asked": _erasure_asked,
    "digest": _digest,
    "gateway-offline": _gateway_offline,
}
