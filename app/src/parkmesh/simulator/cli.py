"""``parkmesh simulate``: cameras, sensors and relays that speak the real devices' protocols.

For demonstrations, training and load on any environment. Exit codes of ``car``: 0 the barrier opened, 3 it didn't,
1 something is out of reach; with ``--expect``: 0 as expected, 3 otherwise.
"""

import asyncio
import json
import logging
import random
import signal
import sys
from collections.abc import Coroutine
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import NoReturn, TypeVar, get_args

import aiomqtt
import click
import msgspec

from parkmesh.gateway.config import CameraKind
from parkmesh.protocol.edge import Direction
from parkmesh.simulator import camera, drive, traffic
from parkmesh.simulator import site as sites
from parkmesh.simulator.lorawan import SimulatedSensor
from parkmesh.simulator.site import Broker, CameraSite, RelaySite, SensorSite, SimulatedRelay, Site, SiteError

T = TypeVar("T")

DEFAULT_SITE = Path("/etc/parkmesh/site.json")

_site_option = click.option(
    "--site",
    "site_path",
    type=click.Path(path_type=Path, dir_okay=False),
    help=f"The site file with the devices.  [default: {DEFAULT_SITE} if it is there]",
)


def _fail(message: str, code: int = 1) -> NoReturn:
    click.echo(f"parkmesh simulate: {message}", err=True)
    sys.exit(code)


def _site(path: Path | None) -> Site | None:
    if path is None and not DEFAULT_SITE.exists():
        return None
    try:
        return sites.load(path or DEFAULT_SITE)
    except SiteError as error:
        _fail(str(error), 2)


def _log_to_stdout() -> None:
    logging.basicConfig(stream=sys.stdout, level=logging.INFO, format="%(message)s")
    for name in ("httpx", "httpcore", "uvicorn", "mqtt"):
        logging.getLogger(name).setLevel(logging.WARNING)


def _until_stopped(work: Coroutine[object, object, None], stop: asyncio.Event, seconds: float | None) -> None:
    """Run ``work`` until SIGTERM, SIGINT or the time is up; it must end when ``stop`` is set."""

    async def run() -> None:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, stop.set)
        if seconds is not None:
            loop.call_later(seconds, stop.set)
        await work

    try:
        asyncio.run(run())
    except* SiteError as errors:
        _fail(str(errors.exceptions[0]))


@click.group()
def simulate() -> None:
    """Simulate cameras, cars, sensors and relays."""


@simulate.command()
@_site_option
@click.option("--name", help="Serve only this relay of the site; without a site, its name.")
@click.option("--port", type=click.IntRange(0, 65535), help="Port of a relay without a site (0: a free one).")
@click.option("--listen", default="127.0.0.1", show_default=True, help="Address of a relay without a site.")
@click.option(
    "--kind",
    type=click.Choice(get_args(SimulatedRelay)),
    default="shelly_gen2",
    show_default=True,
    help="What a relay without a site is.",
)
def relay(site_path: Path | None, name: str | None, port: int | None, listen: str, kind: SimulatedRelay) -> None:
    """Serve simulated relays until SIGTERM."""
    if port is not None:
        served = [RelaySite(name or "relay", port, listen, kind)]
    else:
        site = _site(site_path) or _fail("give --port, or a --site with relays", 2)
        served = [relay for relay in site.relays if name in (None, relay.name)]
        if not served:
            _fail(f"the site has no relay {name!r}" if name else "the site has no relays", 2)
    _log_to_stdout()
    stop = asyncio.Event()

    async def serve() -> None:
        async with asyncio.TaskGroup() as tasks:
            for one, sock in [(one, traffic.bind(f"relay {one.name}", one)) for one in served]:
                tasks.create_task(traffic.serve_relay(one, sock, stop))

    _until_stopped(serve(), stop, None)


@simulate.command("camera")
@_site_option
@click.option("--name", help="Serve only this camera of the site.")
def serve_camera(site_path: Path | None, name: str | None) -> None:
    """Serve the streams of simulated cameras that can't post, until SIGTERM."""
    site = _site(site_path) or _fail("give --site", 2)
    served = [(at, at.stream) for at in site.cameras if at.stream and name in (None, at.name)]
    if not served:
        _fail("the site has no such camera with a stream", 2)
    _log_to_stdout()
    stop = asyncio.Event()

    async def serve() -> None:
        async with asyncio.TaskGroup() as tasks:
            for at, stream in served:
                sock = traffic.bind(f"camera {at.name}", stream)
                tasks.create_task(traffic.serve_stream(at, stream, sock, stop))

    _until_stopped(serve(), stop, None)


@simulate.command()
@_site_option
@click.argument("plate")
@click.option("--camera", "camera_name", help="Which camera sees the car.  [default: the site's first]")
@click.option("--kind", type=click.Choice(get_args(CameraKind)), help="How it speaks.  [default: as in the site]")
@click.option("--gateway", help="The gateway's URL.  [default: the site's]")
@click.option("--relay", "relay_url", help="URL of the gate's simulated relay.  [default: the camera's in the site]")
@click.option("--wait", "wait_s", type=click.FloatRange(0.1, 120), default=5, show_default=True, help="Seconds.")
@click.option("--confidence", type=click.IntRange(0, 100), default=97, show_default=True)
@click.option("--late", "late_s", type=click.FloatRange(0), default=0, help="Say that it happened this long ago (s).")
@click.option("--retransmission", is_flag=True, help="Mark the message as sent late by the camera.")
@click.option("--expect", type=click.Choice(["opened", "closed"]), help="Succeed only if the barrier does this.")
@click.option("--unwatched", is_flag=True, help="Only send the camera's message: the relay is a real one.")
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
def car(
    site_path: Path | None, plate: str, camera_name: str | None, kind: CameraKind | None, gateway: str | None,
    relay_url: str | None, wait_s: float, confidence: int, late_s: float, retransmission: bool, expect: str | None,
    unwatched: bool, as_json: bool,
) -> None:  # fmt: skip
    """Drive a car with PLATE up to a camera and report whether the barrier opened."""
    site = _site(site_path)
    try:
        if site is not None:
            at = site.camera(camera_name) if camera_name is None or not gateway else CameraSite(camera_name, "gate")
            found = site.relay_of(at)
            gateway, relay_url = gateway or site.gateway_of(at), relay_url or (found.url if found else None)
        elif camera_name:
            at = CameraSite(camera_name, "gate")
    except SiteError as error:
        _fail(str(error), 2)
    if not gateway or not (relay_url or unwatched) or (site is None and not camera_name):
        _fail("give --site, or --gateway, --camera and --relay", 2)
    shot = camera.shot(
        plate, drive.now() - timedelta(seconds=late_s), confidence=confidence, retransmission=retransmission
    )
    if kind:
        at = msgspec.structs.replace(at, kind=kind)
    try:
        if unwatched or not relay_url:
            asyncio.run(drive.send(gateway, at, shot, site.broker if site else None))
            sent = {"plate": plate, "camera": at.name}
            click.echo(json.dumps(sent) if as_json else f"{plate} at {at.name}: the message is sent")
            return
        seen = asyncio.run(drive.drive(gateway, at, relay_url, shot, wait_s, site.broker if site else None))
    except drive.DriveError as error:
        _fail(str(error))
    if as_json:
        click.echo(json.dumps(msgspec.to_builtins(seen)))
    else:
        click.echo(_sentence(seen))
    as_expected = seen.opened == (expect == "opened") if expect else seen.opened
    sys.exit(0 if as_expected else 3)


def _sentence(seen: drive.Drive) -> str:
    if seen.opened:
        return f"{seen.plate} at {seen.camera}: the barrier opened after {seen.after_s} s"
    text = f"{seen.plate} at {seen.camera}: the barrier stayed closed ({seen.waited_s} s)"
    if seen.opened_before_s is not None and seen.opened_before_s < 60:
        text += f"; it had opened {seen.opened_before_s:.0f} s before (reads close together are one passage)"
    return text


@simulate.command()
@_site_option
@click.argument("space")
@click.argument("state", type=click.Choice(["occupied", "free"]))
@click.option("--broker", help="HOST[:PORT] of the MQTT broker.  [default: the site's]")
@click.option("--dev-eui", help="The sensor's DevEUI, without a site.")
@click.option("--kind", type=click.Choice(get_args(SimulatedSensor)), default="bosch_tps110", show_default=True)
def sensor(site_path: Path | None, space: str, state: str, broker: str | None, dev_eui: str | None, kind: str) -> None:
    """Let the sensor of SPACE report that it is occupied or free."""
    site = _site(site_path)
    try:
        if dev_eui:
            document = {"dev_eui": dev_eui, "kind": kind, "space": space}
            at = msgspec.convert(document, type=SensorSite)
        elif site is not None:
            at = site.sensor(space)
        else:
            _fail("give --site, or --broker and --dev-eui", 2)
        to = _broker(broker) if broker else None if site is None else site.broker
    except (SiteError, msgspec.ValidationError) as error:
        _fail(str(error), 2)
    if to is None:
        _fail("the site names no broker: give --broker", 2)
    try:
        asyncio.run(traffic.publish(to, at, state == "occupied", drive.now()))
    except aiomqtt.MqttError as error:
        _fail(f"broker {to.host}:{to.port}: {error}")
    click.echo(f"space {space}: sensor {at.dev_eui.lower()} ({at.kind}) reported {state}")


@simulate.command("count")
@_site_option
@click.argument("counter")
@click.argument("direction", type=click.Choice(["entry", "exit"]))
@click.option("--broker", help="HOST[:PORT] of the MQTT broker.  [default: the site's]")
def count(site_path: Path | None, counter: str, direction: Direction, broker: str | None) -> None:
    """Let a vehicle pass the loops or light barriers of COUNTER."""
    site = _site(site_path) or _fail("give --site", 2)
    try:
        at, to = site.counter(counter), _broker(broker) if broker else site.broker
    except (SiteError, msgspec.ValidationError) as error:
        _fail(str(error), 2)
    if to is None:
        _fail("the site names no broker: give --broker", 2)
    try:
        asyncio.run(traffic.pass_counter(to, at, direction))
    except ValueError as error:
        _fail(str(error), 2)
    except aiomqtt.MqttError as error:
        _fail(f"broker {to.host}:{to.port}: {error}")
    click.echo(f"counter {counter}: a vehicle has passed ({direction})")


@simulate.command("code")
@_site_option
@click.argument("reader")
@click.argument("code")
def show_code(site_path: Path | None, reader: str, code: str) -> None:
    """Show CODE, a QR code's text or a PIN, to a scanner or keypad that posts. Exit code 3: the gate stayed shut."""
    site = _site(site_path) or _fail("give --site", 2)
    try:
        at = site.reader(reader)
        gateway = site.gateway_tls if at.tls and site.gateway_tls else site.gateway
        opened, detail = asyncio.run(drive.show_code(gateway, at, code))
    except SiteError as error:
        _fail(str(error), 2)
    except drive.DriveError as error:
        _fail(str(error))
    click.echo(f"reader {reader}: {'opened' if opened else 'not opened'}. {detail}")
    sys.exit(0 if opened else 3)


def _broker(text: str) -> Broker:
    host, _, port = text.rpartition(":")
    if not host:
        return Broker(text)
    with suppress(ValueError):
        return msgspec.convert({"host": host, "port": int(port)}, type=Broker)
    raise SiteError(f"{text!r} isn't HOST[:PORT]")


@simulate.command()
@_site_option
@click.option("--cars", type=click.FloatRange(0), default=6, show_default=True, help="Cars per minute, on average.")
@click.option("--sensors", type=click.FloatRange(0), default=6, show_default=True, help="Sensor changes per minute.")
@click.option("--for", "seconds", type=click.FloatRange(0), help="Stop after this many seconds.")
@click.option("--seed", type=int, help="Repeat the same traffic.")
def site(site_path: Path | None, cars: float, sensors: float, seconds: float | None, seed: int | None) -> None:
    """Run all devices of a site, with random traffic, until SIGTERM."""
    loaded = _site(site_path) or _fail("give --site", 2)
    _log_to_stdout()
    seed = random.SystemRandom().randrange(2**32) if seed is None else seed
    click.echo(f"traffic with --seed {seed}")
    stop = asyncio.Event()
    source = random.Random(seed)  # noqa: S311 -- traffic, not secrets
    _until_stopped(
        traffic.run(loaded, cars_per_minute=cars, sensors_per_minute=sensors, source=source, now=drive.now, stop=stop),
        stop,
        seconds,
    )
