"""Keep a site's simulated devices running: relays that listen, cars and sensors that come and go at random."""

import asyncio
import logging
import random
import socket
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from datetime import datetime

import aiomqtt
import httpx
import uvicorn
from starlette.types import ASGIApp

from parkmesh.gateway.counters import Counter
from parkmesh.protocol.edge import Direction
from parkmesh.simulator import camera, camera_stream, lorawan, publishing, vehicle
from parkmesh.simulator.drive import DriveError, post
from parkmesh.simulator.relay import Switch
from parkmesh.simulator.relay_kinds import application
from parkmesh.simulator.site import Broker, CameraSite, RelaySite, SensorSite, Site, SiteError, StreamSite

log = logging.getLogger("parkmesh.simulator")

_LETTERS = "BCDFGHJKLMNPRSTVWXYZ"
_STRANGERS = 0.2
"""Share of unknown cars, where the site names plates."""


class _Server(uvicorn.Server):
    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


def bind(what: str, relay: RelaySite | StreamSite) -> socket.socket:
    """Take the port of a device that listens; raise SiteError where it isn't free."""
    sock = socket.socket(socket.AF_INET6 if ":" in relay.listen else socket.AF_INET)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        sock.bind((relay.listen, relay.port))
        # So also before its server runs: who was told of it may come at once.
        sock.listen()
    except OSError as error:
        sock.close()
        raise SiteError(f"{what}: can't listen on {relay.listen}:{relay.port}: {error.strerror}") from None
    return sock


async def serve_relay(relay: RelaySite, sock: socket.socket, stop: asyncio.Event) -> None:
    """Serve one simulated relay on a listening socket until ``stop``."""
    device = application(relay.kind, Switch(relay.name), relay.password)
    await _serve(f"relay {relay.name}", device, sock, stop)


async def serve_stream(at: CameraSite, stream: StreamSite, sock: socket.socket, stop: asyncio.Event) -> None:
    """Serve one simulated camera that can't post on a listening socket until ``stop``."""
    device = camera_stream.application(stream.user, stream.password, kind=at.kind)
    await _serve(f"camera {at.name}", device, sock, stop)


async def _serve(what: str, device: ASGIApp, sock: socket.socket, stop: asyncio.Event) -> None:
    # A stream doesn't end by itself.
    server = _Server(
        uvicorn.Config(device, log_config=None, access_log=False, lifespan="off", timeout_graceful_shutdown=1)
    )
    serving = asyncio.create_task(server.serve(sockets=[sock]))
    log.info("%s: listening on %s:%d", what, *sock.getsockname()[:2])
    await stop.wait()
    server.should_exit = True
    await serving


async def publish(broker: Broker, sensor: SensorSite, occupied: bool, moment: datetime) -> None:
    """Publish one state of one sensor; return when the broker has it (QoS 1)."""
    frame = lorawan.state_frame(sensor.kind, occupied)
    uplink = lorawan.uplink(sensor.dev_eui, frame, moment)
    await publishing.publish(broker, [(lorawan.topic(sensor.dev_eui), uplink)])


async def pass_counter(broker: Broker, counter: Counter, direction: Direction) -> None:
    """Let a vehicle pass a counter; return when the broker has all of it (QoS 1). Raises ValueError where the counter
    doesn't count this direction."""
    await publishing.publish(broker, vehicle.passing(counter, direction))


def random_plate(source: random.Random) -> str:
    """Return a plate of Spain's scheme since 2000: four digits, three consonants."""
    return f"{source.randrange(10_000):04d}" + "".join(source.choices(_LETTERS, k=3))


async def _repeat(
    per_minute: float, source: random.Random, stop: asyncio.Event, act: Callable[[], Awaitable[None]]
) -> None:
    """Act at random moments, ``per_minute`` times a minute on average (a Poisson process), until ``stop``."""
    while not stop.is_set():
        try:
            async with asyncio.timeout(source.expovariate(per_minute / 60)):
                await stop.wait()
        except TimeoutError:
            try:
                await act()
            except (DriveError, aiomqtt.MqttError) as error:
                log.warning("%s", error)


async def run(
    site: Site, *, cars_per_minute: float, sensors_per_minute: float, source: random.Random,
    now: Callable[[], datetime], stop: asyncio.Event,
) -> None:  # fmt: skip
    """Run the site's relays, and random traffic at its cameras and sensors, until ``stop``."""
    sockets = [bind(f"relay {relay.name}", relay) for relay in site.relays]
    streams = [(at, at.stream, bind(f"camera {at.name}", at.stream)) for at in site.cameras if at.stream]
    occupied = {sensor.space: False for sensor in site.sensors}
    async with httpx.AsyncClient(trust_env=False) as client, asyncio.TaskGroup() as devices:

        async def car() -> None:
            at = source.choice(site.cameras)
            stranger = not site.plates or source.random() < _STRANGERS
            plate = random_plate(source) if stranger else source.choice(site.plates)
            shot = camera.shot(plate, now(), confidence=source.randint(80, 99))
            await post(client, site.gateway_of(at), at, shot, site.broker)
            log.info("%s at %s", plate, at.name)

        async def sensor(broker: Broker) -> None:
            at = source.choice(site.sensors)
            await publish(broker, at, not occupied[at.space], now())
            occupied[at.space] = not occupied[at.space]
            log.info("space %s is now %s", at.space, "occupied" if occupied[at.space] else "free")

        for relay, sock in zip(site.relays, sockets, strict=True):
            devices.create_task(serve_relay(relay, sock, stop))
        for at, stream, sock in streams:
            devices.create_task(serve_stream(at, stream, sock, stop))
        if site.cameras and cars_per_minute > 0:
            devices.create_task(_repeat(cars_per_minute, source, stop, car))
        if site.sensors and site.broker and sensors_per_minute > 0:
            broker = site.broker
            devices.create_task(_repeat(sensors_per_minute, source, stop, lambda: sensor(broker)))
        await stop.wait()
