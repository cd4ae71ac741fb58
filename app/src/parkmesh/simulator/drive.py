"""Drive a simulated car up to a gate and watch the barrier."""

import asyncio
import time
from datetime import datetime

import httpx
import msgspec
from msgspec import Struct

from parkmesh.simulator import camera
from parkmesh.simulator.relay import Pulses

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


def events_url(gateway: str, name: str, secret_path: str | None) -> str:
    middle = f"/{secret_path}" if secret_path else ""
    return f"{gateway.rstrip('/')}/cameras/{name}{middle}/events"


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


async def post(client: httpx.AsyncClient, url: str, event: camera.Shot) -> None:
    """Send one camera message; return when the gateway accepted it."""
    body, content_type = camera.multipart(event)
    try:
        response = await client.post(url, content=body, headers={"Content-Type": content_type}, timeout=10)
    except httpx.HTTPError as error:
        raise DriveError(f"no gateway at {url}: {error or type(error).__name__}") from None
    if response.status_code != 200:
        raise DriveError(f"the gateway answered HTTP {response.status_code}: {response.text[:200]}")


async def drive(url: str, camera_name: str, relay_url: str, event: camera.Shot, wait_s: float) -> Drive:
    """Send the message and watch the relay for ``wait_s`` seconds at most."""
    async with httpx.AsyncClient(trust_env=False) as client:
        before = await pulses(client, relay_url)
        started = time.monotonic()
        await post(client, url, event)
        while True:
            opened = (await pulses(client, relay_url)).pulses > before.pulses
            waited = time.monotonic() - started
            if opened or waited >= wait_s:
                break
            await asyncio.sleep(_LOOK_EVERY_S)
    return Drive(
        event.plate, camera_name, opened, round(waited, 2), round(waited, 2) if opened else None, before.last_ago_s
    )


def now() -> datetime:
    """The camera's clock: local time with its zone."""
    return datetime.now().astimezone()
