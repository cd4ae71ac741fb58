"""Drive a simulated car up to a gate and watch the barrier."""

import asyncio
import time
from contextlib import nullcontext
from datetime import datetime

import aiomqtt
import httpx
import msgspec
from msgspec import Struct

from parkmesh.gateway.config import Reader
from parkmesh.simulator import camera, camera_messages, camera_stream, publishing
from parkmesh.simulator.relay import Pulses
from parkmesh.simulator.site import Broker, CameraSite, StreamSite

_LOOK_EVERY_S = 0.05


class DriveError(Exception):
    """The gateway or the relay can't be reached or refuses; one line."""


class Drive(Struct, frozen=True):
    """What the driver saw. ``after_s`` is the time from the camera's message to the barrier's pulse.

    ``opened_before_s`` is set when the barrier had opened that many seconds before this car came.
    """

    plate: str
    camera: str
    opened: bool
    waited_s: float
    after_s: float | None
    opened_before_s: float | None


def events_url(gateway: str, at: CameraSite) -> str:
    """Return the address to which a camera, or its recorder, posts."""
    middle = f"/{at.secret_path}" if at.secret_path else ""
    return f"{gateway.rstrip('/')}/cameras/{at.recorder or at.name}{middle}/events"


async def pulses(client: httpx.AsyncClient, relay_url: str) -> Pulses:
    """Ask a simulated relay how often it was turned on."""
    try:
        response = await client.get(f"{relay_url.rstrip('/')}/simulator/pulses", timeout=5)
        return msgspec.json.decode(response.raise_for_status().content, type=Pulses)
    except httpx.HTTPStatusError as error:
        raise DriveError(f"{relay_url} isn't a simulated relay (HTTP {error.response.status_code})") from None
    except httpx.HTTPError as error:
        raise DriveError(f"no simulated relay at {relay_url}: {error or type(error).__name__}") from None
    except (msgspec.DecodeError, UnicodeDecodeError):
        raise DriveError(f"{relay_url} isn't a simulated relay") from None


async def post(
    client: httpx.AsyncClient, gateway: str, at: CameraSite, event: camera.Shot, broker: Broker | None = None
) -> None:
    """Send one camera message; return when the gateway, or the broker, accepted it."""
    if at.topic is not None:
        await _publish(broker, at, event)
        return
    if at.stream is not None:
        await _send_on_stream(client, at, at.stream, event)
        return
    url = events_url(gateway, at)
    body, content_type = camera_messages.message(at.kind, event, at.channel or at.name)
    # Real cameras look at no certificate's signature.
    login = httpx.DigestAuth(at.login.user, at.login.password) if at.login else httpx.USE_CLIENT_DEFAULT
    try:
        async with httpx.AsyncClient(trust_env=False, verify=False) if at.tls else nullcontext(client) as poster:  # noqa: S501
            response = await poster.post(
                url,
                content=body,
                headers={"Content-Type": content_type},
                timeout=10,
                auth=login,
            )
    except httpx.HTTPError as error:
        raise DriveError(f"no gateway at {url}: {error or type(error).__name__}") from None
    if response.status_code != 200:
        raise DriveError(f"the gateway answered HTTP {response.status_code}: {response.text[:200]}")


async def _send_on_stream(client: httpx.AsyncClient, at: CameraSite, stream: StreamSite, event: camera.Shot) -> None:
    message = camera_messages.streamed(at.kind, event, at.channel or "")
    try:
        response = await client.post(stream.url + camera_stream.EVENTS, content=message, timeout=10)
        streams = response.raise_for_status().json()["streams"]
    except (httpx.HTTPError, ValueError, KeyError) as error:
        raise DriveError(f"no simulated camera at {stream.url}: {error or type(error).__name__}") from None
    if not streams:
        raise DriveError(f"nobody fetches the stream of camera {at.name} at {stream.url}")


async def _publish(broker: Broker | None, at: CameraSite, event: camera.Shot) -> None:
    if broker is None:
        raise DriveError(f"camera {at.name} has a topic, but the site names no broker")
    body, _ = camera_messages.message(at.kind, event, at.channel or at.name)
    try:
        await publishing.publish(broker, [(at.topic or "", body)])
    except aiomqtt.MqttError as error:
        raise DriveError(f"broker {broker.host}:{broker.port}: {error}") from None


async def show_code(gateway: str, reader: Reader, code: str) -> tuple[bool, str]:
    """Post a code as a scanner or keypad does; return whether the gate opened, and what the gateway said."""
    middle = f"/{reader.secret_path}" if reader.secret_path else ""
    url = f"{gateway.rstrip('/')}/readers/{reader.name}{middle}/codes"
    login = httpx.DigestAuth(reader.login.user, reader.login.password) if reader.login else httpx.USE_CLIENT_DEFAULT
    try:
        async with httpx.AsyncClient(trust_env=False, verify=not reader.tls) as client:
            answer = await client.post(url, json={reader.field: code}, auth=login, timeout=40)
            said = answer.json()
    except httpx.HTTPError as error:
        raise DriveError(f"no gateway at {gateway}: {error or type(error).__name__}") from None
    except ValueError:
        raise DriveError(f"{gateway} isn't a gateway (HTTP {answer.status_code})") from None
    return bool(said.get("opened")), str(said.get("detail", ""))


async def send(gateway: str, at: CameraSite, event: camera.Shot, broker: Broker | None = None) -> None:
    """Send the message of a camera whose relay is no simulated one, and watch nothing."""
    async with httpx.AsyncClient(trust_env=False) as client:
        await post(client, gateway, at, event, broker)


async def drive(
    gateway: str, at: CameraSite, relay_url: str, event: camera.Shot, wait_s: float, broker: Broker | None = None
) -> Drive:
    """Send the message and watch the relay for ``wait_s`` seconds at most."""
    async with httpx.AsyncClient(trust_env=False) as client:
        before = await pulses(client, relay_url)
        started = time.monotonic()
        await post(client, gateway, at, event, broker)
        while True:
            opened = (await pulses(client, relay_url)).pulses > before.pulses
            waited = time.monotonic() - started
            if opened or waited >= wait_s:
                break
            await asyncio.sleep(_LOOK_EVERY_S)
    return Drive(
        event.plate, at.name, opened, round(waited, 2), round(waited, 2) if opened else None, before.last_ago_s
    )


def now() -> datetime:
    """The camera's clock: local time with its zone."""
    return datetime.now().astimezone()
