"""Every kind of relay against a device that speaks its protocol: pulses, logins, inputs, what is no confirmation."""

import asyncio
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager

import httpx
import msgspec
import pytest
import uvicorn
from hypothesis import given
from hypothesis import strategies as st
from parkmesh.gateway import drivers
from parkmesh.gateway.drivers import relay_http, tasmota
from parkmesh.gateway.drivers.types import RelayError
from parkmesh.gateway.gates import HttpCall, HttpCalls, HttpQuestion, Relay, RelayKind
from parkmesh.simulator.login import Login
from parkmesh.simulator.relay import Switch
from parkmesh.simulator.relay_kinds import application
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

PASSWORD = "s3cret é & ="


class _Server(uvicorn.Server):
    def __init__(self, app: object) -> None:
        config = uvicorn.Config(app, port=0, log_config=None, access_log=False, lifespan="off")  # type: ignore[arg-type]
        super().__init__(config)
        self.listens = asyncio.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.listens.set()

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


@asynccontextmanager
async def served(app: object) -> AsyncIterator[str]:
    server = _Server(app)
    serving = asyncio.create_task(server.serve())
    await server.listens.wait()
    yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    server.should_exit = True
    await serving


@asynccontextmanager
async def http_client() -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(trust_env=False) as client:
        yield client


def relay_of(kind: RelayKind, url: str, **more: object) -> Relay:
    contacts = {"esphome": {"switch": "gate", "closed_input": "closed"}, "hikvision_gate": {"switch": 1}}
    known: dict[str, object] = {"closed_input": 1 if kind == "hikvision_gate" else 0, **contacts.get(kind, {})}
    if kind == "http":
        opens = {"path": "/open", "expect": "opened"}
        known = {
            "calls": {"open": opens, "closed": {"path": "/state", "field": "closed", "yes": ["true"], "no": ["false"]}}
        }
    document = {"url": url, "kind": kind, "pulse_s": 0.3, **known, **more}
    return msgspec.convert(document, Relay)


@pytest.mark.parametrize("kind", ["shelly_gen1", "shelly_gen2", "tasmota", "esphome", "hikvision_gate", "http"])
@pytest.mark.parametrize("password", [None, PASSWORD])
async def test_one_pulse_opens_and_the_input_tells(kind: RelayKind, password: str | None) -> None:
    now = [0.0]
    switch = Switch("north", lambda: now[0])
    async with served(application(kind, switch, password)) as url, http_client() as client:
        relay = relay_of(kind, url, password=password)
        assert await drivers.ask(client, relay, "closed") is True
        await drivers.pulse(client, relay)
        assert switch.pulses().pulses == 1
        assert switch.pulses().output
        assert await drivers.ask(client, relay, "closed") is False
        now[0] += 60
        assert not switch.pulses().output, "the relay turns itself off"
        assert await drivers.ask(client, relay, "closed") is True
        assert await drivers.ask(client, relay, "clear") is None


@pytest.mark.parametrize("kind", ["shelly_gen1", "shelly_gen2", "esphome", "hikvision_gate", "http"])
@pytest.mark.parametrize("given", [None, "wrong"])
async def test_a_wrong_password_moves_nothing_and_is_in_no_message(kind: RelayKind, given: str | None) -> None:
    switch = Switch("north")
    async with served(application(kind, switch, PASSWORD)) as url, http_client() as client:
        with pytest.raises(RelayError, match="password") as caught:
            await drivers.pulse(client, relay_of(kind, url, password=given))
    assert not caught.value.may_have_moved
    assert "wrong" not in str(caught.value)
    assert switch.pulses().pulses == 0


async def test_a_challenge_serves_again_and_a_stale_one_is_renewed() -> None:
    switch = Switch("north")
    device = application("shelly_gen2", switch, PASSWORD)
    assert isinstance(device, Login)
    device._uses = 2
    async with served(device) as url, http_client() as client:
        relay = relay_of("shelly_gen2", url, password=PASSWORD)
        for _ in range(2):
            assert await drivers.ask(client, relay, "closed") is True
        assert device.refused == 1, "the second request asked for no new challenge"
        await drivers.pulse(client, relay)
        assert device.refused == 2
    assert switch.pulses().pulses == 1


@pytest.mark.parametrize("scheme", ["basic", "MD5", "SHA-256"])
async def test_a_device_that_asks_for_either_login_is_given_it(scheme: str) -> None:
    opened: list[str] = []

    async def door(request: Request) -> Response:
        opened.append(request.url.path)
        return PlainTextResponse("door=open")

    async def state(_: Request) -> Response:
        return Response('{"door":{"closed":true}}', media_type="application/json")

    app = Starlette(routes=[Route("/open", door, methods=["POST"]), Route("/shut", door), Route("/state", state)])
    calls = HttpCalls(
        open=HttpCall("/open", "POST", body="{}", expect="door=open"),
        close=HttpCall("/shut"),
        closed=HttpQuestion("/state", yes=["true"], no=["false"], field="door.closed"),
    )
    async with served(Login(app, scheme, "guard", PASSWORD)) as url, http_client() as client:  # type: ignore[arg-type]
        relay = Relay(url, "http", user="guard", password=PASSWORD, calls=calls)
        await drivers.pulse(client, relay)
        await drivers.close(client, relay)
        assert opened == ["/open", "/shut"]
        assert await drivers.ask(client, relay, "closed") is True
        assert await drivers.ask(client, relay, "clear") is None
        wrong = msgspec.structs.replace(calls, open=HttpCall("/open", "POST", expect="door=closed"))
        with pytest.raises(RelayError, match="doesn't contain") as caught:
            await drivers.pulse(client, msgspec.structs.replace(relay, calls=wrong))
        assert caught.value.may_have_moved


@pytest.mark.parametrize(
    ("kind", "answer", "message", "moved"),
    [
        ("shelly_gen1", b"<html>", "didn't answer as a Shelly", True),
        ("shelly_gen1", b'{"ison":true,"has_timer":false}', "with its timer", True),
        ("shelly_gen1", b'{"ison":false,"has_timer":true}', "with its timer", False),
        ("tasmota", b'{"WARNING":"Need user=<username>&password=<password>"}', "Need user", False),
        ("tasmota", b'{"Command":"Unknown"}', "didn't take the pulse's time", False),
        ("tasmota", b'{"PulseTime1":{"Set":3},"POWER":"OFF"}', "didn't turn on", False),
        (
            "hikvision_gate",
            b"<r><statusCode>4</statusCode><statusString>Invalid</statusString></r>",
            "4: Invalid",
            False,
        ),
        ("hikvision_gate", b"OK", "in XML", True),
    ],
)
async def test_what_is_no_confirmation(kind: RelayKind, answer: bytes, message: str, moved: bool) -> None:
    async def anything(_: Request) -> Response:
        return Response(answer)

    app = Starlette(routes=[Route("/{path:path}", anything, methods=["GET", "POST", "PUT"])])
    async with served(app) as url, http_client() as client:
        with pytest.raises(RelayError, match=message) as caught:
            await drivers.pulse(client, relay_of(kind, url))
    assert caught.value.may_have_moved is moved


@pytest.mark.parametrize("kind", ["shelly_gen1", "shelly_gen2", "tasmota", "esphome", "hikvision_gate"])
async def test_a_request_that_may_have_arrived_is_not_repeated(
    kind: RelayKind, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(relay_http, "TIMEOUT", httpx.Timeout(0.2))
    requests: list[str] = []

    async def slow(request: Request) -> Response:
        requests.append(str(request.url))
        if "PulseTime" in str(request.url):
            return Response('{"PulseTime1":{"Set":3}}')
        await asyncio.sleep(0.4)
        return Response()

    app = Starlette(routes=[Route("/{path:path}", slow, methods=["GET", "POST", "PUT"])])
    async with served(app) as url, http_client() as client:
        with pytest.raises(RelayError, match="ReadTimeout") as caught:
            await drivers.pulse(client, relay_of(kind, url))
    assert caught.value.may_have_moved
    assert len(requests) == (2 if kind == "tasmota" else 1)


async def test_a_switch_is_held_and_let_go() -> None:
    now = [0.0]
    for kind in ("shelly_gen1", "shelly_gen2"):
        switch = Switch("north", lambda: now[0])
        async with served(application(kind, switch)) as url, http_client() as client:  # type: ignore[arg-type]
            relay = relay_of(kind, url)  # type: ignore[arg-type]
            await drivers.hold(client, relay, 90)
            now[0] += 60
            await drivers.hold(client, relay, 90)
            now[0] += 60
            assert switch.pulses().output, "the second call began the time anew"
            await drivers.hold(client, relay, 0)
            assert not switch.pulses().output


@given(st.floats(0.01, 60, allow_nan=False))
def test_tasmotas_time_is_never_shorter_than_wanted_by_more_than_half_a_tenth(seconds: float) -> None:
    number = tasmota.pulse_time(seconds)
    means = number / 10 if number <= 111 else number - 100
    assert 1 <= number <= 64_900
    assert max(0.1, seconds) - 0.06 <= means <= seconds + 1
