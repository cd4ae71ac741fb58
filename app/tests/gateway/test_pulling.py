"""Cameras that can't post: their stream cut into messages, and fetched by a running gateway from a simulated camera."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from edge_server import TOKEN, EdgeServer
from hypothesis import given
from hypothesis import strategies as st
from parkmesh.gateway.config import ConfigError, parse
from parkmesh.gateway.drivers import dahua_events, dahua_stream, hikvision
from parkmesh.gateway.drivers.hikvision_stream import Messages
from parkmesh.gateway.drivers.types import StreamError
from parkmesh.protocol.edge import AccessEntry
from parkmesh.simulator import camera, camera_messages, drive, jpeg
from parkmesh.simulator.camera_stream import KEEP_ALIVE, dahua_part, part
from processes import GatewaySite, Process, free_port, parkmesh, run_simulate, wait_for
from test_gateway_config import EXAMPLE

MIXED = "multipart/mixed; boundary=boundary"
READ = camera.xml(camera.shot("1234BCD", drive.now()))


def plates(messages: list[bytes]) -> list[str | None]:
    return [hikvision.parse(one).plate for one in messages]


def without_length(content: bytes, kind: str = "application/xml") -> bytes:
    return f"--boundary\r\nContent-Type: {kind}\r\n\r\n".encode() + content + b"\r\n"


JSON = b'{"eventType":"ANPR","eventState":"active","ANPR":{"licensePlate":"1234BCD"}}'
FORMS: dict[str, bytes] = {
    "with its length": part(READ),
    "without a length": without_length(READ),
    "line feeds only": part(READ).replace(b"\r\n", b"\n"),
    "prefixed": without_length(
        READ.replace(b"<Event", b"<ns:Event").replace(b"</Event", b"</ns:Event").replace(b"xmlns=", b"xmlns:ns=")
    ),
    "JSON with its length": part(JSON, "application/json"),
    "JSON without a length": without_length(JSON, "application/json"),
    "a length that is too small": part(READ).replace(f"Length: {len(READ)}".encode(), b"Length: 100"),
    "a length that is too large": part(READ).replace(f"Length: {len(READ)}".encode(), b"Length: 9000"),
    "after a picture": part(jpeg.grey(90) * 50, "image/jpeg") + part(READ),
    "after a picture without a length": without_length(jpeg.grey(90) * 50, "image/jpeg") + part(READ),
}


@pytest.mark.parametrize("form", FORMS)
def test_a_read_is_given_out_before_anything_follows_it(form: str) -> None:
    messages = Messages(MIXED)
    assert plates(messages.feed(FORMS[form])) == ["1234BCD"]
    # And the next one is found, whatever stood between.
    assert plates(messages.feed(part(KEEP_ALIVE) + FORMS[form])) == [None, "1234BCD"]


@given(st.integers(1, 700), st.lists(st.sampled_from(sorted(FORMS)), min_size=1, max_size=4))
def test_however_the_bytes_come_the_messages_are_the_same(size: int, forms: list[str]) -> None:
    stream = b"\r\n".join(FORMS[form] for form in forms) + part(KEEP_ALIVE)
    messages = Messages(MIXED)
    found = [one for at in range(0, len(stream), size) for one in messages.feed(stream[at : at + size])]
    assert plates(found) == ["1234BCD"] * len(forms) + [None]


@pytest.mark.parametrize(
    "content_type",
    ['multipart/x-mixed-replace; boundary="boundary"', "multipart/mixed;boundary=--boundary", "multipart/mixed"],
)
def test_how_devices_name_the_boundary(content_type: str) -> None:
    assert plates(Messages(content_type).feed(part(READ))) == ["1234BCD"]


def test_what_is_no_stream_is_said() -> None:
    with pytest.raises(StreamError, match="text/html"):
        Messages("text/html")
    with pytest.raises(StreamError, match="no boundary comes"):
        Messages(MIXED).feed(b"x" * 20_000)
    with pytest.raises(StreamError, match="headers don't end"):
        Messages(MIXED).feed(b"--boundary\r\n" + b"x" * 20_000)
    with pytest.raises(StreamError, match="more than"):
        Messages(MIXED).feed(without_length(b"x" * 9_000_000, "text/plain"))


DAHUA = camera_messages.streamed("dahua_events", camera.shot("1234BCD", drive.now()), "3")
DAHUA_FORMS: dict[str, bytes] = {
    "a length of nothing": dahua_part(DAHUA),
    "no length": dahua_part(DAHUA).replace(b"Content-Length:0\r\n", b""),
    "its length": dahua_part(DAHUA).replace(b"Length:0", f"Length: {len(DAHUA)}".encode()),
    "line feeds only": dahua_part(DAHUA).replace(b"\r\n", b"\n"),
    "a plate with a brace": dahua_part(DAHUA.replace(b'"Seat"', b'"}\\"{"')),
    "on one line": dahua_part(b" ".join(DAHUA.split(b"\n"))),
}
MOTION = dahua_part(b"Code=VideoMotion;action=Start;index=0")


def dahua_plates(messages: list[bytes]) -> list[tuple[str | None, str | None]]:
    return [(one.plate, one.channel) for one in map(dahua_events.parse, messages)]


@pytest.mark.parametrize("form", DAHUA_FORMS)
def test_dahuas_event_is_given_out_before_anything_follows_it(form: str) -> None:
    messages = dahua_stream.Messages("multipart/x-mixed-replace; boundary=myboundary")
    assert dahua_plates(messages.feed(dahua_part(b"Heartbeat") + DAHUA_FORMS[form])) == [(None, None), ("1234BCD", "3")]
    assert dahua_plates(messages.feed(MOTION + DAHUA_FORMS[form])) == [(None, None), ("1234BCD", "3")]


@given(st.integers(1, 700), st.lists(st.sampled_from(sorted(DAHUA_FORMS)), min_size=1, max_size=4))
def test_however_the_bytes_of_dahuas_stream_come(size: int, forms: list[str]) -> None:
    broken = dahua_part(DAHUA[:-20])
    stream = b"".join(dahua_part(b"Heartbeat") + MOTION + broken + DAHUA_FORMS[form] for form in forms)
    messages = dahua_stream.Messages("multipart/x-mixed-replace")
    found = [one for at in range(0, len(stream), size) for one in messages.feed(stream[at : at + size])]
    assert [plate for plate, _ in dahua_plates(found) if plate] == ["1234BCD"] * len(forms)
    assert len(found) == 3 * len(forms), "a broken event is left out, and nothing behind it"


def test_what_is_no_stream_of_dahua_is_said() -> None:
    with pytest.raises(StreamError, match="text/html"):
        dahua_stream.Messages("text/html")
    with pytest.raises(StreamError, match="no event comes"):
        dahua_stream.Messages("multipart/x-mixed-replace").feed(b"x" * 70_000)
    with pytest.raises(StreamError, match="more than"):
        dahua_stream.Messages("multipart/x-mixed-replace").feed(DAHUA[:-2] + b"x" * 1_100_000)


def test_pictures_take_no_memory() -> None:
    messages = Messages(MIXED)
    assert messages.feed(b"--boundary\r\nContent-Type: image/jpeg\r\nContent-Length: 900000000\r\n\r\n") == []
    for _ in range(100):
        messages.feed(b"\xff" * 100_000)
    assert len(messages._buffer) == 0


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"kind": "dahua_events", "pull": None}, "camera 'cam-main-in': the kind dahua_events needs pull"),
        ({"kind": "milesight"}, "camera 'cam-main-in': messages of the kind milesight can't be fetched by pull"),
        ({"pull": {"url": "192.0.2.10", "password": "secret-word"}}, "pull.url"),
        ({"pull": {"url": "http://192.0.2.10"}}, "password"),
    ],
)
def test_what_cant_be_fetched(changes: dict[str, Any], message: str) -> None:
    cam = {**EXAMPLE["cameras"][0], "pull": {"url": "http://192.0.2.10", "password": "secret-word"}, **changes}
    with pytest.raises(ConfigError, match=message) as caught:
        parse(json.dumps({**EXAMPLE, "cameras": [cam]}).encode(), "gateway.json")
    assert "secret-word" not in str(caught.value)


@pytest.fixture
def server() -> Iterator[EdgeServer]:
    with EdgeServer([AccessEntry("ana", "1234BCD", "active")]) as running:
        yield running


@pytest.fixture
def kind() -> str:
    return "hikvision"


@pytest.fixture
def site(server: EdgeServer, tmp_path: Path, kind: str) -> Iterator[GatewaySite]:
    running = GatewaySite(tmp_path, [server.url], TOKEN)
    port = free_port()
    pull = {"url": f"http://127.0.0.1:{port}", "password": "camera's secret"}
    running.config["cameras"][0] |= {"kind": kind, "pull": pull}
    running.config["same_plate_window_s"] = 1
    running.config_path.write_text(json.dumps(running.config))
    simulated = json.loads(running.site_path.read_text())
    simulated["cameras"][0] |= {"kind": kind, "stream": {"port": port, "password": "camera's secret"}}
    running.site_path.write_text(json.dumps(simulated))
    with running.at_work():
        yield running


@pytest.mark.parametrize("kind", ["hikvision", "dahua_events"])
def test_a_camera_that_cant_post_opens_its_gate_also_after_it_was_away(
    site: GatewaySite, server: EdgeServer, tmp_path: Path
) -> None:
    wait_for(lambda: site.status()["streams"]["cam-in"]["fault"], "the fault: there is no camera yet")
    for count in (1, 2):
        simulated = Process(parkmesh("simulate", "camera", "--site", str(site.site_path)), tmp_path / "camera.log")
        site.processes.append(simulated)
        wait_for(lambda: site.status()["streams"]["cam-in"]["connected"], "the stream")
        code, line = run_simulate("car", "--site", str(site.site_path), "1234BCD", "--wait", "10")
        assert (code, site.pulses()) == (0, count), line
        wait_for(lambda count=count: len(server.events) == count, "the passage")  # type: ignore[misc]
        assert simulated.stop() == 0
        wait_for(lambda: not site.status()["streams"]["cam-in"]["connected"], "the stream's end")
    status = site.status()
    assert status["quarantined"] == 0
    assert status["cameras"]["cam-in"]["from"] == "127.0.0.1"
    assert [one.camera for one in server.passages()] == ["cam-in", "cam-in"]
    assert site.gateway is not None
    assert site.gateway.stop() == 0
    assert "camera's secret" not in site.gateway.log


def test_what_is_posted_and_fetched_is_one_passage(site: GatewaySite, server: EdgeServer, tmp_path: Path) -> None:
    simulated = Process(parkmesh("simulate", "camera", "--site", str(site.site_path)), tmp_path / "camera.log")
    site.processes.append(simulated)
    wait_for(lambda: site.status()["streams"]["cam-in"]["connected"], "the stream")
    shot = camera.shot("1234BCD", drive.now())
    body, kind = camera.multipart(shot)
    url = f"http://127.0.0.1:{site.port}/cameras/cam-in/events"
    assert httpx.post(url, content=body, headers={"Content-Type": kind}).status_code == 200
    stream = json.loads(site.site_path.read_text())["cameras"][0]["stream"]["port"]
    sent = httpx.post(f"http://127.0.0.1:{stream}/simulator/events", content=camera.xml(shot)).json()
    assert sent == {"streams": 1}
    wait_for(lambda: "the same event again" in (site.gateway.log if site.gateway else ""), "the repetition")
    wait_for(lambda: len(server.events) == 1, "the passage")
    assert site.pulses() == 1
