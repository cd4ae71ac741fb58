"""The gateway's page: in its process with real cameras and relay, and its parts."""

import ast
import asyncio
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from babel.messages.pofile import read_po
from edge_server import TOKEN, EdgeServer
from hypothesis import given, settings
from hypothesis import strategies as st
from parkmesh import gateway
from parkmesh.domain import words
from parkmesh.domain.access import Reason
from parkmesh.gateway import support
from parkmesh.gateway.config import Config
from parkmesh.gateway.drivers.types import PlateRead
from parkmesh.gateway.page import language, passwords, views
from parkmesh.gateway.page.entrance import Entrance, network_of
from parkmesh.gateway.page.markup import Markup, tag
from parkmesh.gateway.page.spanish import SPANISH
from parkmesh.gateway.sightings import KEPT_MS, Sightings
from parkmesh.protocol.edge import AccessEntry, Passage, Times
from parkmesh.simulator import camera, drive
from processes import GatewaySite, free_port, wait_for
from starlette.responses import Response

GATEWAY = Path(gateway.__file__).parent
PASSWORD = "correct horse battery"
HASH = passwords.hashed(PASSWORD, b"a salt for tests", rounds=1000)
SECRET = "a-secret-path-of-a-camera"


class Reader:
    """Somebody on the LAN with a browser that keeps cookies and runs no scripts."""

    def __init__(self, port: int, accepts: str = "en") -> None:
        self.http = httpx.Client(base_url=f"http://127.0.0.1:{port}", headers={"Accept-Language": accepts}, timeout=15)

    def sign_in(self, password: str = PASSWORD) -> httpx.Response:
        return self.http.post("/sign-in", data={"password": password})

    def page(self, path: str = "/") -> str:
        answer = self.http.get(path)
        assert answer.status_code == 200, (path, answer.status_code)
        return answer.text

    def form(self, path: str) -> dict[str, str]:
        """Return the hidden fields of the last form of a page."""
        page = self.page(path)
        return dict(re.findall(r'<input type="hidden" name="(\w+)" value="([^"]*)">', page))


@pytest.fixture
def server() -> Iterator[EdgeServer]:
    with EdgeServer([AccessEntry("ana", "1234BCD", "active"), AccessEntry("eve", "6666JKL", "revoked")]) as running:
        yield running


@pytest.fixture
def site(server: EdgeServer, tmp_path: Path) -> Iterator[GatewaySite]:
    running = GatewaySite(tmp_path, [server.url], TOKEN)
    running.config["local_page"] = {"password": HASH, "host": "127.0.0.1", "port": free_port()}
    running.config["cameras"][1]["secret_path"] = SECRET
    running.config_path.write_text(json.dumps(running.config))
    with running.at_work():
        yield running


def reader(site: GatewaySite, accepts: str = "en") -> Reader:
    port = site.config["local_page"]["port"]
    wait_for(lambda: site._answers(port, "/sign-in"), "the page")
    return Reader(port, accepts)


def send(site: GatewaySite, plate: str) -> None:
    body, kind = camera.multipart(camera.shot(plate, drive.now()))
    url = f"http://127.0.0.1:{site.port}/cameras/cam-in/events"
    assert httpx.post(url, content=body, headers={"Content-Type": kind}, timeout=10).status_code == 200


def test_who_stands_at_the_gate_sees_why_it_stays_shut_also_without_a_line(
    site: GatewaySite, server: EdgeServer
) -> None:
    server.fault = lambda _: Response(status_code=503)
    server.end_streams()
    guest = reader(site)
    for path in ("/", "/check", "/gates/in/pulse", "/export"):
        assert guest.http.get(path).headers["Location"] == "/sign-in"
    assert guest.http.get("/live").status_code == 401
    assert guest.sign_in("wrong").status_code == 403
    assert guest.sign_in().status_code == 429, "it is asked to wait after a wrong password"
    wait_for(lambda: guest.sign_in().status_code == 303, "the wait's end")
    send(site, "1234BCD")
    send(site, "6666JKL")
    httpx.put(f"http://127.0.0.1:{site.port}/cameras/{SECRET}")
    wait_for(lambda: "Access revoked" in guest.page(), "the refusal")
    page = guest.page()
    for text in ("12…D", "Known plate", "66…L", "Denied", "Sent to no camera", "PUT /cameras/…", "Test pulse"):
        assert text in page, text
    assert guest.page("/live?seen=0").startswith('<div id="live"')
    version = re.search(r'data-seen="(\d+)"', page)
    assert version
    assert guest.http.get(f"/live?seen={version[1]}").status_code == 204, "nothing new: nothing is sent"
    everything = guest.page("/check")
    assert "doesn&#x27;t answer" in everything or "HTTP 503" in everything
    spanish = reader(site, "es-ES,es;q=0.9")
    spanish.sign_in()
    assert "Acceso revocado" in spanish.page()

    export = guest.http.get("/export")
    told = export.json()
    assert [one["reason"] for one in told["passages"]] == ["revoked", "exact"]
    assert told["configuration"]["local_page"]["password"] == "(left out)"
    for whole in (page, everything, export.text):
        for secret in ("1234BCD", "6666JKL", SECRET, HASH, PASSWORD, TOKEN, "ana"):
            assert secret not in whole, secret
    assert site.gateway is not None
    assert site.gateway.stop() == 0
    for secret in (PASSWORD, HASH, "1234BCD", SECRET):
        assert secret not in site.gateway.log
    assert "wrong password from 127.0.0.1 (1 times)" in site.gateway.log
    # A taken port stops no gate.
    site.config["local_page"]["port"] = site.relay_port
    site.config_path.write_text(json.dumps(site.config))
    site.start_gateway()
    wait_for(lambda: site.gateway is not None and "the page: can't listen on" in site.gateway.log, "the error")


def test_a_test_pulse_is_asked_for_recorded_and_given_once(site: GatewaySite, server: EdgeServer) -> None:
    one = reader(site)
    one.sign_in()
    form = one.form("/gates/in/pulse")
    answer = one.http.post("/gates/in/pulse", data=form | {"csrf": "another's"})
    assert (answer.status_code, site.pulses()) == (403, 0)
    answer = one.http.post("/gates/in/pulse", data=form, headers={"Origin": "http://elsewhere.example"})
    assert (answer.status_code, site.pulses()) == (403, 0)
    assert one.http.post("/gates/nowhere/pulse", data=form).status_code == 404
    for _ in range(2):  # the form is sent twice
        answer = one.http.post("/gates/in/pulse", data=form)
        assert answer.status_code == 303
        assert "The relay confirmed the pulse" in one.page(answer.headers["Location"])
    again = one.http.post("/gates/in/pulse", data=one.form("/gates/in/pulse"))  # tapped again: the gate is open
    assert again.status_code == 303
    wait_for(lambda: len(server.events) == 2, "both records")
    assert {(p.reason, p.opened) for p in server.passages()} == {("command", True)}
    assert server.passages()[0].device_event_id == form["command"]
    assert site.pulses() == 1
    assert one.page().count("Opened by hand") == 2
    nothing_comes_from_outside(one)
    before = one.http.cookies["parkmesh-gateway"]
    assert one.http.post("/sign-out", data={"csrf": one.form("/")["csrf"]}).status_code == 303
    one.http.cookies.set("parkmesh-gateway", before)
    assert one.http.get("/").headers["Location"] == "/sign-in", "a session that was ended is over"


def nothing_comes_from_outside(one: Reader) -> None:
    answers = [one.http.get("/sign-in"), one.sign_in(), one.http.get("/"), one.http.get("/nowhere")]
    for answer in answers:
        policy = answer.headers["Content-Security-Policy"]
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
        assert answer.headers["Cache-Control"] == "no-store"
    assert "samesite=strict" in answers[1].headers["Set-Cookie"].lower()
    page = answers[2].text
    assert set(re.findall(r'(?:src|href|action)="(?!/)([^"]*)"', page)) == {"#main"}
    assert re.findall(r"<script[^>]*>[^<]|<style|\son\w+=|\sstyle=", page) == []
    for path in re.findall(r'(?:src|href)="(/[^"]+\?v=[^"]+)"', page):
        assert one.http.get(path).status_code == 200


# parts


def test_counters_are_shown_with_what_they_counted_and_whether_they_are_silent() -> None:
    counted = {"entries": 30, "exits": 21, "told": 1_700_000_000_000}
    counters = {"garage": counted | {"known": True}, "yard": {"entries": 0, "exits": 0, "known": False}}
    config = Config("gateway-a", "a", "spool.db", "token", ["http://127.0.0.1:1"])
    shown = views.Shown(1_700_000_060_000, config, {"counters": counters}, [], [], [], 0, {})
    page = str(tag("main", views.overview(language.of("es"), shown, "")))
    card = page.partition("Contadores")[2].partition("</section>")[0]
    assert "30 entradas, 21 salidas" in card
    assert "hace 1 min" in card
    assert [
        name for name in ("garage", "yard") if "En silencio" in card.partition(f"{name}<")[2].partition("</li>")[0]
    ] == ["yard"]


def texts() -> set[str]:
    """Return every text that the page can say."""

    def literals(node: ast.AST) -> Iterator[str]:
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value
        elif isinstance(node, ast.IfExp):
            yield from literals(node.body)
            yield from literals(node.orelse)

    found = {*words.REASON.values(), *words.DECISION.values(), *words.DIRECTION.values(), words.NOT_CONFIRMED}
    found |= {text for _, text in views._STATES.values()}
    for name in ("doctor.py", "page/views.py", "page/app.py"):
        for node in ast.walk(ast.parse((GATEWAY / name).read_text())):
            if not isinstance(node, ast.Call) or not node.args:
                continue
            called = node.func.id if isinstance(node.func, ast.Name) else getattr(node.func, "attr", "")
            if called in ("N_", "_", "say"):
                found |= set(literals(node.args[0]))
            elif called == "Finding":
                found |= {text.capitalize() for text in literals(node.args[0])}
    return found


def test_every_text_is_there_in_spanish_and_nothing_else() -> None:
    assert texts() == set(SPANISH)
    for english, spanish in SPANISH.items():
        assert sorted(re.findall(r"%\(\w+\)s|%%", english)) == sorted(re.findall(r"%\(\w+\)s|%%", spanish))


def test_what_the_application_says_too_is_said_alike() -> None:
    file = GATEWAY.parent / "server/web/locale/es/LC_MESSAGES/parkmesh.po"
    with file.open("rb") as stream:
        catalogue = read_po(stream, locale="es")
    both = {text: (SPANISH[text], catalogue[text].string) for text in SPANISH if text in catalogue}
    assert set(words.REASON.values()) <= set(both)
    assert {text: pair for text, pair in both.items() if pair[0] != pair[1]} == {}


def test_every_reason_has_words() -> None:
    assert set(words.REASON) == {reason.value for reason in Reason}


@pytest.mark.parametrize(
    ("header", "code"),
    [
        ("", "en"),
        ("es", "es"),
        ("de, es;q=0.3", "es"),
        ("en-GB,es;q=0.9", "en"),
        ("es;q=2", "en"),
        ("q=;;,=", "en"),
    ],
)
def test_the_browser_s_language_is_taken(header: str, code: str) -> None:
    assert language.preferred(header) == code


@settings(max_examples=50)
@given(st.text(), st.text())
def test_what_devices_send_is_never_markup(text: str, attribute: str) -> None:
    made = tag("p", text, title=attribute, hidden=None)
    assert isinstance(made, Markup)
    assert made.count("<") == made.count(">") == 2
    assert made.count('"') == 2


def test_guessing_is_slowed_down_for_the_sender_and_for_all() -> None:
    now = [0.0]

    async def guess() -> None:
        door = Entrance(HASH, lambda: now[0], pause_s=0)
        assert await door.sign_in("192.0.2.9", "x" * 10_000) == 0
        assert await door.sign_in("192.0.2.9", PASSWORD) == 2, "not even checked"
        assert isinstance(await door.sign_in("192.0.2.10", PASSWORD), str), "others may come in"
        waits = []
        for _ in range(12):
            now[0] += 301
            assert await door.sign_in("2001:db8::1", "no") == 0
            waits.append(await door.sign_in("2001:db8::ffff", PASSWORD))  # of the same network
        assert waits == [2, 4, 8, 16, 32, 64, 128, 256, 300, 300, 300, 300]
        at_once = await asyncio.gather(*(door.sign_in(f"192.0.2.{last}", "no") for last in range(20, 40)))
        assert at_once.count(0) == 4, "few wait for their turn"

    asyncio.run(guess())


def test_a_session_ends_after_its_time() -> None:
    now = [0.0]
    door = Entrance(HASH, lambda: now[0])
    cookie = asyncio.run(door.sign_in("192.0.2.9", PASSWORD))
    assert isinstance(cookie, str)
    assert door.session(cookie)
    now[0] = 8 * 3600
    assert door.session(cookie) is None


@pytest.mark.parametrize("stored", ["", "pbkdf2-sha256:0:YQ==:YQ==", "scrypt:1:YQ==:YQ==", f"{HASH}:x", HASH[:-8]])
def test_what_is_no_hash_lets_nobody_in(stored: str) -> None:
    assert not passwords.matches(stored, PASSWORD)
    assert passwords.matches(HASH, PASSWORD)


def test_senders_are_known_by_their_network() -> None:
    addresses = ("192.0.2.9", "fe80::1%eth0", "2001:db8:0:1::2", "nonsense")
    assert [network_of(one) for one in addresses] == ["192.0.2.9", "fe80::/64", "2001:db8:0:1::/64", "-"]


def passage(read: PlateRead, at: int, **changes: Any) -> Passage:
    given: dict[str, Any] = {
        "seq": 1, "times": Times(at), "gate": "in", "direction": "entry", "plate": "1234BCD", "decision": "granted",
        "reason": "exact", "camera": "cam", "device_event_id": read.event_id,
    }  # fmt: skip
    return Passage(**{**given, **changes})


def test_reads_show_what_came_of_them_and_are_forgotten_after_an_hour() -> None:
    now = [1_000_000]
    seen = Sightings(lambda: now[0])
    reads = [PlateRead(f"event-{number}", True, "1234 BCD") for number in range(4)]
    for number, read in enumerate(reads, 1):
        seen.read(number, "cam", "in", read)
    version = seen.version
    seen.settled([1, 2], passage(reads[1], now[0]))
    seen.settled([3], None)
    shown = [(one.settled, one.stands_for_passage) for one in reversed(seen.reads())]
    assert shown == [(True, False), (True, True), (True, False), (False, False)]
    assert seen.version == version + 2
    now[0] += KEPT_MS + 1
    assert (seen.reads(), seen.passages()) == ([], [])
    for number in range(3_000):
        seen.read(number, "cam", "in", reads[0])
    assert len(seen.reads()) == 2_000


def test_an_export_leaves_out_whatever_is_called_a_secret() -> None:
    given = {
        "relay": {"url": "http://user:hunter2@192.0.2.31", "password": "hunter2", "pulse_s": 2},
        "cameras": [{"secret_path": "hunter2", "name": "cam"}, {"api_key": "hunter2", "secret_path": None}],
        "token_file": "/etc/parkmesh/gateway.token",
        "pins": ["hunter2"],
        "keypad": "north",
    }
    left = support.without_secrets(given)
    assert "hunter2" not in json.dumps(left)
    assert left["relay"]["url"] == "http://192.0.2.31"
    assert (left["token_file"], left["keypad"]) == (given["token_file"], "north")
    assert left["cameras"][1]["secret_path"] is None, "there is none"
