"""Barriers over real HTTP: confirmed, refused, dead, slow, and answering nonsense."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx
import msgspec
import pytest
from parkmesh.gateway.drivers import relay_http, shelly_gen2
from parkmesh.gateway.drivers.types import RelayError
from parkmesh.gateway.gates import Relay


@asynccontextmanager
async def relay(answer: bytes | None, *, wait_s: float = 0) -> AsyncIterator[tuple[Relay, list[bytes]]]:
    """A socket that takes one request per connection and answers with these bytes (None: closes)."""
    requests: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        length = next(int(line.split(b":")[1]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-l"))
        requests.append(head + await reader.readexactly(length))
        await asyncio.sleep(wait_s)
        if answer is not None:
            writer.write(answer)
            await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        yield Relay(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", switch=1, pulse_s=1.5), requests


def http(body: bytes, status: str = "200 OK") -> bytes:
    return b"HTTP/1.1 " + status.encode() + b"\r\nContent-Length: %d\r\nConnection: close\r\n\r\n" % len(body) + body


async def pulse(to: Relay) -> None:
    async with httpx.AsyncClient(trust_env=False) as client:
        await shelly_gen2.pulse(client, to)


async def test_the_frame_is_shellys() -> None:
    async with relay(http(b'{"id":1,"src":"shelly","result":{"was_on":false}}')) as (to, requests):
        await pulse(to)
    [request] = requests
    assert request.startswith(b"POST /rpc HTTP/1.1\r\n")
    assert b'"method":"Switch.Set","params":{"id":1,"on":true,"toggle_after":1.5}' in request


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (http(b'{"id":1,"error":{"code":-105,"message":"no switch 1"}}'), "error -105: no switch 1"),
        (http(b"", "401 Unauthorized"), "wants a password"),
        (http(b'{"id":1,"result":{"was_on":false}}', "500 Oops"), "HTTP 500 without a result"),
        (http(b"<html>router login</html>"), "HTTP 200 without an RPC answer"),
        (http(b"\xff\xfe"), "without an RPC answer"),
        (http(b'{"id":1,"result":null}'), "without a result"),
        (http(b'{"id":1,"result":{"was_on":true}}'), "was on already"),
        (b"nonsense\r\n\r\n", "RemoteProtocolError"),
        (None, "RemoteProtocolError|ReadError"),
    ],
)
async def test_what_is_no_confirmation(answer: bytes | None, message: str) -> None:
    async with relay(answer) as (to, requests):
        with pytest.raises(RelayError, match=message):
            await pulse(to)
    assert len(requests) == 1, "a request that may have arrived must not be repeated"


async def test_a_slow_relay_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(relay_http, "TIMEOUT", httpx.Timeout(0.1))
    async with relay(http(b"{}"), wait_s=0.5) as (to, requests):
        with pytest.raises(RelayError, match="ReadTimeout") as caught:
            await pulse(to)
    assert caught.value.may_have_moved
    assert len(requests) == 1


async def test_a_dead_relay() -> None:
    async with relay(None) as (to, _):
        pass
    with pytest.raises(RelayError, match="ConnectError"):
        await pulse(to)


@pytest.mark.parametrize(
    ("answer", "closed"),
    [(b'{"id":1,"result":{"id":0,"state":true}}', True), (b'{"result":{"state":false}}', False), (b"{}", None)],
)
async def test_the_barriers_position_is_an_input(answer: bytes, closed: bool | None) -> None:
    async with relay(http(answer)) as (to, requests), httpx.AsyncClient(trust_env=False) as client:
        assert await shelly_gen2.ask(client, to, "closed") is None
        assert requests == [], "asked for an input that isn't connected"
        assert await shelly_gen2.ask(client, msgspec.structs.replace(to, closed_input=0), "closed") is closed
    assert b'"method":"Input.GetStatus","params":{"id":0}' in requests[0]


async def test_a_position_that_nobody_tells() -> None:
    async with relay(http(b"<html>")) as (to, _), httpx.AsyncClient(trust_env=False) as client:
        with pytest.raises(RelayError):
            await shelly_gen2.ask(client, msgspec.structs.replace(to, closed_input=0), "closed")
