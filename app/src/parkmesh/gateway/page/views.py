"""The pages as HTML, from what they show: no I/O, no waiting."""

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from msgspec import Struct

from parkmesh.domain import plates, words
from parkmesh.gateway import sightings
from parkmesh.gateway.config import Config
from parkmesh.gateway.doctor import Finding, lasting
from parkmesh.gateway.gates import Gate
from parkmesh.gateway.page.language import Language
from parkmesh.gateway.page.markup import Markup, join, tag
from parkmesh.gateway.sightings import Sighting
from parkmesh.protocol.edge import Passage

_READS, _PASSAGES = 30, 20
_STATES = {"well": ("good", "In order"), "finding": ("bad", "To do"), "unknown": ("plain", "Not known")}


class Shown(Struct):
    """What the main page shows: ``status`` is the agent's, None where its disk doesn't answer in time; ``findings`` of
    ``doctor``; ``sensors`` the last state of each sensor and when it came."""

    now: int
    config: Config
    status: Mapping[str, Any] | None
    findings: Sequence[Finding]
    reads: Sequence[Sighting]
    passages: Sequence[Passage]
    version: int
    sensors: Mapping[str, tuple[int, str]]


class Assets(Struct, frozen=True):
    """The addresses of the page's own files."""

    style: str
    script: str
    icon: str


Plate = Callable[[str | None], str]


def document(
    language: Language,
    assets: Assets,
    title: str,
    content: object,
    *,
    csrf: str | None = None,
    narrow: bool = False,
    reload_s: int | None = None,
) -> str:
    """Return a whole page. ``csrf`` is that of the session of who is signed in. Without scripts it loads itself again
    after ``reload_s``."""
    _ = language.say
    sign_out = csrf and tag(
        "form",
        hidden_token(csrf),
        tag("button", _("Sign out"), type="submit"),
        method="post",
        action="/sign-out",
    )
    head = tag(
        "head",
        tag("meta", charset="utf-8"),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("meta", name="color-scheme", content="light dark"),
        tag("title", f"{title} · parkmesh"),
        tag("link", rel="icon", href=assets.icon, type="image/svg+xml"),
        tag("link", rel="stylesheet", href=assets.style),
        tag("script", src=assets.script, defer=True),
        tag("noscript", tag("meta", http_equiv="refresh", content=str(reload_s))) if reload_s else None,
    )
    bar = tag("header", tag("a", "parkmesh", class_="brand", href="/"), sign_out or None, class_="bar")
    main = tag("main", content, id="main", class_="narrow" if narrow else None)
    skip = tag("a", _("Skip to the content"), class_="skip", href="#main")
    return "<!doctype html>" + tag("html", head, tag("body", skip, bar, main), lang=language.code)


def hidden_token(csrf: str) -> Markup:
    return tag("input", type="hidden", name="csrf", value=csrf)


def sign_in(language: Language, gateway: str, wrong: str | None) -> list[Markup | None]:
    """Return the content of the sign-in page; ``wrong`` is what to say of the last try."""
    _ = language.say
    return [
        tag("h1", gateway),
        tag("p", wrong, class_="alert", role="alert") if wrong else None,
        tag(
            "section",
            tag("p", _("This is the gateway of the gates here. Its password is with those who operate it.")),
            tag(
                "form",
                tag(
                    "div",
                    tag("label", _("Password"), for_="password"),
                    tag(
                        "input",
                        type="password",
                        id="password",
                        name="password",
                        autocomplete="current-password",
                        required=True,
                        autofocus=True,
                    ),
                ),
                tag("button", _("Sign in"), class_="primary", type="submit"),
                class_="form",
                method="post",
                action="/sign-in",
            ),
            class_="card",
        ),
    ]


def overview(language: Language, shown: Shown, csrf: str) -> list[Markup]:
    """Return the content of the main page."""
    _, config = language.say, shown.config
    wrong = [finding for finding in shown.findings if finding.state == "finding"]
    zone = time.strftime("%Z", time.localtime(shown.now / 1000))
    heading = tag(
        "div",
        tag("h1", config.name),
        tag(
            "p",
            _("Community %(name)s", name=config.community),
            f" · {clock(shown.now)} {zone}",
            class_="muted",
        ),
        class_="heading",
    )
    lost = tag("p", _("The gateway doesn't answer this page now."), id="lost", class_="tip", role="status", hidden=True)
    to_do = tag(
        "section",
        tag(
            "div",
            tag("h2", _("What is to do") if wrong else _("All is well")),
            tag("a", _("Look at everything"), href="/check"),
            class_="head",
        ),
        findings(language, wrong)
        if wrong
        else tag("p", _("Nothing is to do, by what the gateway knows without asking around."), class_="muted"),
        class_="card",
    )
    return [
        heading,
        lost,
        to_do,
        live(language, shown),
        tag(
            "div",
            _gates(language, shown),
            _cameras(language, shown),
            _sensors(language, shown),
            _counters(language, shown),
            _line(language, shown),
            _computer(language, shown),
            _help(language),
            class_="columns",
        ),
    ]


def live(language: Language, shown: Shown) -> Markup:
    """Return reads and passages, the part that a script keeps fresh."""
    _ = language.say
    written = _plate(shown.config)
    reads = [_read(language, shown, written, one) for one in shown.reads[:_READS]]
    passages = [_passage(language, written, one) for one in shown.passages[:_PASSAGES]]
    return tag(
        "div",
        _rows(language, _("Reads"), len(shown.reads), reads, _("No camera has read a plate in the last hour.")),
        _rows(language, _("Passages"), len(shown.passages), passages, _("Nobody has asked to pass in the last hour.")),
        id="live",
        class_="columns",
        data_seen=str(shown.version),
    )


def _rows(language: Language, title: str, count: int, rows: Sequence[Markup], nothing: str) -> Markup:
    total = tag("p", language.say("%(count)s in the last hour", count=count), class_="muted small")
    return tag(
        "section",
        tag("div", tag("h2", title), total, class_="head"),
        tag("ul", rows, class_="rows") if rows else tag("p", nothing, class_="muted"),
        class_="card",
    )


def _plate(config: Config) -> Plate:
    """Return how plates are written here: masked, unless the configuration shows them."""
    shows = config.local_page is not None and config.local_page.shows_plates
    return lambda plate: (plate or "-") if shows else plates.masked(plate)


def _read(language: Language, shown: Shown, written: Plate, read: Sighting) -> Markup:
    _ = language.say
    outcome: object = chip("warn", _("Waits for a better read"))
    if read.stands_for_passage:
        assert read.passage is not None
        outcome = decision(language, read.passage)
    elif read.settled:
        outcome = tag("span", _("Decided with another read of the car"), class_="muted")
    sure = "" if read.confidence is None else f" · {read.confidence:.0%}"
    return tag(
        "li",
        moment(read.at),
        tag(
            "div",
            tag(
                "p",
                tag("span", written(plates.normalise(read.plate or "")), class_="plate"),
                tag("span", f"{read.camera}{sure}", class_="muted small"),
                class_="line",
            ),
            tag("p", outcome, class_="line"),
        ),
    )


def _passage(language: Language, written: Plate, passage: Passage) -> Markup:
    way = language.say(words.DIRECTION[passage.direction])
    what = tag("span", written(passage.plate), class_="plate") if passage.plate or passage.camera else None
    return tag(
        "li",
        moment(passage.times.received),
        tag(
            "div",
            tag("p", what, tag("span", f"{passage.gate} · {way}", class_="muted small"), class_="line"),
            tag("p", decision(language, passage), class_="line"),
        ),
    )


def decision(language: Language, passage: Passage) -> list[Markup]:
    """Return a decision and its reason, in the words of the application's pages."""
    _ = language.say
    reason = _(words.REASON.get(passage.reason, passage.reason.replace("_", " ").capitalize()))
    failed = passage.decision == "granted" and passage.opened is False
    kind = "bad" if passage.decision != "granted" else "warn" if failed else "good"
    text = f"{reason}. {_(words.NOT_CONFIRMED)}" if failed else reason
    return [chip(kind, _(words.DECISION[passage.decision])), tag("span", text)]


def chip(kind: str, text: str) -> Markup:
    return tag("span", text, class_=f"chip {kind}")


def clock(at: int) -> str:
    """Return the time of day on the gateway's clock."""
    return time.strftime("%H:%M:%S", time.localtime(at / 1000))


def moment(at: int) -> Markup:
    written = time.strftime("%Y-%m-%dT%H:%M:%S%z", time.localtime(at / 1000))
    return tag("time", clock(at), datetime=f"{written[:-2]}:{written[-2:]}")


def findings(language: Language, found: Iterable[Finding]) -> Markup:
    """Return findings as a list: what is wrong, and under it what to do."""
    _ = language.say
    return tag(
        "ul",
        [
            tag(
                "li",
                tag(
                    "p",
                    tag("strong", " ".join(filter(None, (_(one.check.capitalize()), one.subject)))),
                    chip(_STATES[one.state][0], _(_STATES[one.state][1])),
                    class_="line",
                ),
                tag("p", said(language, one.said, one.values)),
                tag("p", said(language, one.todo, one.values), class_="todo") if one.todo else None,
            )
            for one in found
        ],
        class_="things",
    )


def said(language: Language, message: str, values: Mapping[str, str | int]) -> str:
    """Return a finding's message, with what it quotes in the reader's language where that is a text of ours."""
    return language.say(message) % {
        name: language.say(value) if isinstance(value, str) else value for name, value in values.items()
    }


def _card(title: str, *content: object) -> Markup:
    return tag("section", tag("h2", title), content, class_="card")


def _gates(language: Language, shown: Shown) -> Markup:
    _ = language.say
    rows = []
    for gate in shown.config.gates:
        last = next((one for one in shown.passages if one.gate == gate.name and one.opened is not None), None)
        if last is None:
            told = _("No pulse in the last hour.")
        elif last.opened:
            told = _("The relay confirmed the last pulse at %(time)s.", time=clock(last.times.received))
        else:
            told = _("The relay didn't confirm the last pulse at %(time)s.", time=clock(last.times.received))
        rows.append(
            tag(
                "li",
                tag(
                    "p",
                    tag("strong", gate.name),
                    tag("a", _("Test pulse"), class_="button", href=f"/gates/{gate.name}/pulse"),
                    class_="line",
                ),
                tag("p", told),
                tag("p", _device(gate), class_="muted small"),
            )
        )
    return _card(_("Gates and relays"), tag("ul", rows, class_="things"))


def _device(gate: Gate) -> str:
    return f"{gate.relay.kind} · {gate.relay.url.rpartition('@')[2].removeprefix('http://')}"


def _cameras(language: Language, shown: Shown) -> Markup:
    _, status = language.say, shown.status or {}
    told, clocks, silent = (status.get(key) or {} for key in ("cameras", "camera_clocks", "silent_cameras"))
    rows = []
    for camera in shown.config.cameras:
        last, sender = (told.get(camera.name) or {}).get("last"), (told.get(camera.name) or {}).get("from")
        heard = (
            _("Sent something %(time)s ago.", time=lasting(shown.now - last))
            if last
            else _("Has sent nothing since the start.")
        )
        kind = "bad" if camera.name in silent else "good" if last else "plain"
        state = _("Silent") if camera.name in silent else _("Heard") if last else _("Not heard yet")
        way = _(words.DIRECTION[camera.direction])
        reads = sum(1 for read in shown.reads if read.camera == camera.name)
        behind = (clocks.get(camera.name) or {}).get("behind_ms")
        off = None if behind is None else _("Its clock is %(time)s off.", time=_off(int(behind)))
        rows.append(
            tag(
                "li",
                tag("p", tag("strong", camera.name), chip(kind, state), class_="line"),
                tag("p", heard, " ", _("Reads in the last hour: %(count)s.", count=reads), " ", off),
                tag("p", " · ".join(filter(None, (camera.gate, way, camera.kind, sender))), class_="muted small"),
            )
        )
    return _card(_("Cameras"), tag("ul", rows, class_="things"), _strays(language, shown))


def _off(ms: int) -> str:
    return f"{abs(ms)} ms" if abs(ms) < 1000 else lasting(abs(ms))


def _strays(language: Language, shown: Shown) -> Markup | None:
    _ = language.say
    posts = ((shown.status or {}).get("wrong_posts") or {}).get("senders") or []
    wrong = [one for one in posts if one["kind"] != "test" and shown.now - one["last"] <= sightings.KEPT_MS]
    if not wrong:
        return None
    rows = [
        tag(
            "li",
            tag("p", tag("strong", one["sender"]), moment(one["last"]), class_="line"),
            tag("p", f"{one['method']} {one['path']}", f" · {one['channel']}" if one.get("channel") else None),
            tag("p", _("Times: %(count)s", count=one["count"]), class_="muted small"),
        )
        for one in wrong
    ]
    return join([tag("h2", _("Sent to no camera")), tag("ul", rows, class_="things")])


def _sensors(language: Language, shown: Shown) -> Markup | None:
    _, config, status = language.say, shown.config, shown.status or {}
    if config.mqtt is None:
        return None
    silent = status.get("silent_sensors") or []
    connected = _("Connected") if status.get("mqtt") else _("Not connected")
    broker = tag(
        "p",
        tag("strong", _("Broker")),
        chip("good" if status.get("mqtt") else "bad", connected),
        class_="line",
    )
    states = {"free": _("Free"), "occupied": _("Occupied"), "unknown": _("Unknown")}
    rows = []
    for sensor in config.sensors:
        at, state = shown.sensors.get(sensor.id, (0, "unknown"))
        heard = _("Told its state %(time)s ago.", time=lasting(shown.now - at)) if at else _("Has told nothing yet.")
        kind, text = ("bad", _("Silent")) if sensor.id in silent else ("plain", states[state])
        rows.append(
            tag(
                "li",
                tag("p", tag("strong", sensor.space), chip(kind, text), class_="line"),
                tag("p", heard),
                tag("p", f"{sensor.kind} · {sensor.id}", class_="muted small"),
            )
        )
    return _card(_("Sensors"), broker, tag("ul", rows, class_="things"))


def _counters(language: Language, shown: Shown) -> Markup | None:
    _, readings = language.say, (shown.status or {}).get("counters") or {}
    rows = []
    for name, one in readings.items():
        told = one.get("told")
        ago = lasting(shown.now - told) if told else ""
        heard = _("Told its state %(time)s ago.", time=ago) if told else _("Has told nothing yet.")
        rows.append(
            tag(
                "li",
                tag("p", tag("strong", name), None if one["known"] else chip("bad", _("Silent")), class_="line"),
                tag("p", _("%(entries)s in, %(exits)s out", entries=one["entries"], exits=one["exits"])),
                tag("p", heard, class_="muted small"),
            )
        )
    return _card(_("Counters"), tag("ul", rows, class_="things")) if rows else None


def _facts(rows: Iterable[tuple[str, object]]) -> Markup:
    return tag("dl", [(tag("dt", name), tag("dd", value)) for name, value in rows], class_="facts")


def _line(language: Language, shown: Shown) -> Markup:
    _, status = language.say, shown.status
    if status is None:
        return _card(_("Line to the servers"), tag("p", _("The disk doesn't answer: the state isn't known.")))
    synced = status.get("last_sync")
    errors = status.get("errors") or {}
    connected = bool(status.get("stream")) and not errors
    return _card(
        _("Line to the servers"),
        _facts(
            [
                (
                    _("State"),
                    chip("good", _("Connected")) if connected else chip("bad", _("Not connected")),
                ),
                (_("Server"), status.get("server")),
                (
                    _("Last answer"),
                    _("%(time)s ago", time=lasting(shown.now - synced)) if synced else _("None since the start"),
                ),
                (_("Waiting records"), status.get("backlog")),
                (_("Access list"), _("Version %(version)s", version=status.get("access_list_version") or 0)),
                *[(_("Error"), str(error)) for error in errors.values()],
            ]
        ),
    )


def _computer(language: Language, shown: Shown) -> Markup:
    """Return clock, disk, power and temperature, as the doctor judges them."""
    checks = ("clock", "records", "disk", "disk wear", "power", "temperature")
    found = [one for one in shown.findings if one.check in checks]
    return _card(language.say("Clock, disk and power"), findings(language, found))


def _help(language: Language) -> Markup:
    _ = language.say
    return _card(
        _("For those who help"),
        tag("p", _("A file with everything that this gateway knows of itself, without plates and secrets.")),
        tag("p", tag("a", _("Export for support"), class_="button", href="/export"), class_="actions"),
    )


def check(language: Language, found: Sequence[Finding]) -> list[Markup]:
    """Return the content of the page that looked at everything."""
    _ = language.say
    first = [one for one in found if one.state == "finding"]
    return [
        tag("p", tag("a", _("Back"), href="/")),
        tag("h1", _("What was looked at")),
        tag("section", tag("h2", _("What is to do")), findings(language, first), class_="card") if first else Markup(),
        tag(
            "section",
            tag("h2", _("All the rest")),
            findings(language, [one for one in found if one.state != "finding"]),
            class_="card",
        ),
    ]


def pulse(language: Language, gate: Gate, csrf: str, command: str) -> list[Markup]:
    """Return the question before a test pulse. ``command`` is its number: sent twice it opens once."""
    _ = language.say
    return [
        tag("h1", _("Test pulse at %(gate)s", gate=gate.name)),
        tag(
            "section",
            tag("p", _("The barrier moves. Look whether anybody or anything is under it.")),
            tag("p", _("It is recorded like an opening by hand."), class_="muted"),
            tag(
                "form",
                hidden_token(csrf),
                tag("input", type="hidden", name="command", value=command),
                tag(
                    "div",
                    tag("button", _("The way is clear: open"), class_="danger", type="submit"),
                    tag("a", _("Don't open"), class_="button", href="/"),
                    class_="actions",
                ),
                method="post",
                action=f"/gates/{gate.name}/pulse",
            ),
            class_="card",
        ),
    ]


def pulsed(language: Language, gate: Gate, passage: Passage | None) -> list[Markup]:
    """Return what came of a test pulse; None: nothing yet."""
    _ = language.say
    if passage is None:
        outcome = tag("p", _("The gate is busy: the pulse comes within seconds, or not at all."), class_="tip")
    elif passage.opened:
        outcome = tag("p", _("The relay confirmed the pulse."), class_="notice")
    else:
        outcome = tag("p", _("The relay didn't confirm. Look at the barrier: it may have moved."), class_="alert")
    return [
        tag("h1", _("Test pulse at %(gate)s", gate=gate.name)),
        outcome,
        tag("p", tag("a", _("Back"), class_="button", href="/"), class_="actions"),
    ]


def message(language: Language, title: str, text: str) -> list[Markup]:
    """Return the content of a page that only says something."""
    return [
        tag("h1", title),
        tag("p", text, class_="alert"),
        tag("p", tag("a", language.say("Back"), class_="button", href="/"), class_="actions"),
    ]
