"""``parkmesh gateway``: run it, ask how it is, check its configuration. Errors are one line; a wrong file exits 2."""

import asyncio
import gc
import json
import logging
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NoReturn

import click
import httpx
import msgspec

from parkmesh.domain import plates
from parkmesh.gateway import agent, certificate, doctor_command, draining, drivers, health, intake, reach, release_fetch
from parkmesh.gateway import config as configuration
from parkmesh.gateway.certificate import CertificateError
from parkmesh.gateway.config import Config, ConfigError
from parkmesh.gateway.drivers.types import PlateRead, PoisonError
from parkmesh.gateway.release_watch import release_folder
from parkmesh.gateway.sensors import Sensor
from parkmesh.gateway.serving import ListenError
from parkmesh.gateway.spool import SpoolError, peek

DEFAULT_CONFIG = Path("/etc/parkmesh/gateway.json")

_config_option = click.option(
    "--config",
    "path",
    type=click.Path(path_type=Path, dir_okay=False),
    default=DEFAULT_CONFIG,
    show_default=True,
    help="The gateway's configuration file (JSON).",
)


def _fail(message: str, code: int) -> NoReturn:
    click.echo(f"parkmesh gateway: {message}", err=True)
    sys.exit(code)


def _load(path: Path) -> Config:
    try:
        return configuration.load(path)
    except ConfigError as error:
        _fail(str(error), 2)


@click.group()
def gateway() -> None:
    """The community's gateway: devices in, decisions at the edge, a durable spool out."""


@gateway.command()
@_config_option
@click.option("--log-level", type=click.Choice(["debug", "info", "warning"]), default="info", show_default=True)
def run(path: Path, log_level: str) -> None:
    """Run the gateway until SIGTERM."""
    config = _load(path)
    try:
        token = configuration.load_token(Path(config.token_file))
    except ConfigError as error:
        _fail(str(error), 2)
    logging.basicConfig(stream=sys.stdout, level=log_level.upper(), format="%(levelname)s %(message)s")
    # httpx writes every URL at info.
    for name in ("httpx", "httpcore", "uvicorn", "mqtt"):
        logging.getLogger(name).setLevel(logging.WARNING)
    # A look at all objects takes 80 ms with 20,000 plates, and no barrier opens meanwhile; a list lives for long.
    gc.set_threshold(2_000, 20, 500)
    # The spool's thread holds the interpreter for 5 ms otherwise, and a car waits for it several times on its way.
    sys.setswitchinterval(0.0005)
    # httpcore tries to import it at every request, and searches all folders each time: the agent runs under asyncio.
    sys.modules["sniffio"] = None  # type: ignore[assignment]
    try:
        asyncio.run(agent.run(config, token, config_file=path))
    except (SpoolError, ListenError) as error:
        _fail(str(error), 1)


@gateway.command("fetch-release")
@_config_option
@click.option("--number", required=True, type=click.IntRange(1), help="Number of its publication.")
@click.option("--server", "servers", multiple=True, help="Base addresses of servers.  [default: the configuration's]")
@click.option(
    "--have",
    type=click.Path(path_type=Path, file_okay=False),
    help="Folder of a release whose files needn't be fetched.  [default: the running one]",
)
@click.option(
    "--rate",
    type=click.IntRange(0),
    default=release_fetch.RATE_BYTES_S,
    show_default=True,
    help="Bytes per second that it takes of the line; 0: no bound.",
)
def fetch_release(path: Path, number: int, servers: tuple[str, ...], have: Path | None, rate: int) -> None:
    """Fetch what this gateway lacks of a release, at the lowest priority. The agent runs it when a server tells it to.

    Prints what crossed the line, as JSON. parkmesh-pull (root) checks the release and puts it on trial.
    """
    config = _load(path)
    try:
        token = configuration.load_token(Path(config.token_file))
    except ConfigError as error:
        _fail(str(error), 2)
    release_fetch.yield_to_gates()
    inbox = Path(config.spool).parent / release_fetch.INBOX
    running = have or release_folder() or Path("/nonexistent")
    with httpx.Client(trust_env=False, headers={"Authorization": f"Bearer {token}"}) as client:
        fetch = release_fetch.Fetch(client, list(servers) or config.servers, inbox, running, rate=rate)
        try:
            fetched = fetch.run(number)
        except release_fetch.FetchError as error:
            _fail(str(error), 1)
    click.echo(msgspec.json.encode(fetched))


def _status(config: Config) -> dict[str, Any]:
    """Return the running gateway's status, else what its spool holds. Raises SpoolError."""
    host = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(config.listen.host, config.listen.host)  # noqa: S104
    try:
        response = httpx.get(f"http://{host}:{config.listen.port}/status", timeout=3, trust_env=False)
        document: dict[str, Any] = response.raise_for_status().json()
        if document.get("gateway") != config.name:
            raise ValueError("another gateway listens there")
    except (httpx.HTTPError, ValueError):
        counts, epoch, list_version = peek(Path(config.spool))
        document = {**agent.status_document(config, counts, epoch, list_version), "running": False}
    return document


@gateway.command()
@_config_option
def status(path: Path) -> None:
    """Print the gateway's state as JSON: of the running gateway, else what its spool holds."""
    config = _load(path)
    try:
        document = _status(config)
    except SpoolError as error:
        _fail(str(error), 1)
    click.echo(json.dumps(document, indent=2))


def _before(path: Path | None) -> health.Checks | None:
    if path is None:
        return None
    try:
        return msgspec.json.decode(path.read_bytes(), type=health.Health).checks
    except (OSError, ValueError) as error:
        _fail(f"{path}: {error}", 2)


def _checks(config: Config) -> tuple[health.Checks, float]:
    """Return what the checks find, and for how many seconds the agent has been up."""
    try:
        document = _status(config)
    except SpoolError:
        document = {}
    return health.checks(document, reach.unreachable(config.gates)), float(document.get("up_s", 0))


@gateway.command("health")
@_config_option
@click.option(
    "--before", type=click.Path(path_type=Path), help="What this command printed earlier: only what is worse counts."
)
@click.option(
    "--within", type=click.FloatRange(0, 600), default=0, show_default=True, help="Seconds to wait until it is well."
)
@click.option(
    "--up",
    type=click.FloatRange(0, 600),
    default=0,
    show_default=True,
    help="Seconds that the agent must have been up.",
)
def show_health(path: Path, before: Path | None, within: float, up: float) -> None:
    """Say whether the gateway is well, as JSON: list, decisions, disk, servers, broker, relays. Exits 1 if it isn't."""
    config, earlier, until = _load(path), _before(before), time.monotonic() + within
    while True:
        found, up_s = _checks(config)
        judged = health.judge(found, earlier)
        if (judged.well and up_s >= up) or time.monotonic() >= until:
            break
        time.sleep(0.5)
    if judged.well and up_s < up:
        judged.well, judged.faults[health.RUNS] = False, f"the agent has started again: it is up for {up_s:.0f} s"
    click.echo(json.dumps(msgspec.to_builtins(judged), indent=2))
    sys.exit(0 if judged.well else 1)


@gateway.command()
@_config_option
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def doctor(path: Path, as_json: bool) -> None:
    """Look at devices, line, disk and power, and say what to do. Exits 0 if all is well, 1 if not, 2 if it can't look.

    Nothing is opened. It works beside a running agent and without one; as root it sees everything.
    """
    config = _load(path)
    try:
        document: dict[str, Any] | None = _status(config)
    except SpoolError:
        document = None
    sys.exit(doctor_command.run(config, document, agent.now_ms, as_json=as_json))


@gateway.command("check-config")
@_config_option
def check_config(path: Path) -> None:
    """Check the configuration file, the token file and the certificate, and say what they hold."""
    config = _load(path)
    try:
        configuration.load_token(Path(config.token_file))
        if config.certificate_file is not None:
            certificate.load(certificate.context(), Path(config.certificate_file))
    except (ConfigError, CertificateError) as error:
        _fail(str(error), 2)
    click.echo(
        f"{path}: ok: gateway {config.name} of community {config.community}, {len(config.gates)} gates, "
        f"{len(config.cameras)} cameras, {len(config.sensors)} sensors, {len(config.servers)} servers"
    )


@gateway.command("drain")
@_config_option
@click.option(
    "--within", type=click.FloatRange(1, 3600), default=60, show_default=True, help="Seconds to go on trying to send."
)
def drain(path: Path, within: float) -> None:
    """Send what a stopped gateway still holds, and say as JSON what is left. Exits 1 if anything is.

    Nothing is listened to and no barrier is moved. Run it as the gateway's user, to whom the spool belongs.
    """
    config = _load(path)
    try:
        token = configuration.load_token(Path(config.token_file))
    except ConfigError as error:
        _fail(str(error), 2)
    logging.basicConfig(level="WARNING")
    try:
        drained = asyncio.run(draining.drain(config, token, within))
    except SpoolError as error:
        _fail(str(error), 3)
    click.echo(json.dumps(msgspec.to_builtins(drained), indent=2))
    sys.exit(0 if drained.is_empty else 1)


@gateway.command("try-mapping")
@_config_option
@click.argument("name")
@click.argument("message", type=click.Path(path_type=Path, dir_okay=False))
@click.option("--content-type", default="", help="The message's Content-Type.  [default: told from the message]")
def try_mapping(path: Path, name: str, message: Path, content_type: str) -> None:
    """Show what the gateway reads in the file MESSAGE, as if the camera or recorder NAME had posted it, or the sensor
    of the space NAME had sent it."""
    config = _load(path)
    address = intake.addresses(config).get(name)
    sensor = next((one for one in config.sensors if one.space == name), None)
    if address is None and sensor is None:
        _fail(f"{path}: no camera that posts itself, no recorder and no sensor's space has the name {name!r}", 2)
    try:
        body = message.read_bytes()
    except OSError as error:
        _fail(f"{message}: {error.strerror}", 2)
    if address is None:
        assert sensor is not None
        _show_sensor(sensor, message, body)
        return
    try:
        reads = [drivers.CAMERAS[address.kind].parse(one) for one in address.messages(body, content_type)]
    except PoisonError as error:
        _fail(f"{message}: {error}", 1)
    click.echo(json.dumps([_shown(address, read) for read in reads], indent=2, ensure_ascii=False))


def _show_sensor(sensor: Sensor, message: Path, body: bytes) -> None:
    try:
        uplink = drivers.parse_uplink(body) if sensor.topic is None else None
        if uplink is not None and uplink.dev_eui != sensor.id:
            raise PoisonError(f"this is from the sensor {uplink.dev_eui}, not from {sensor.id}")
        reading = drivers.sensor_reading(sensor, body, uplink)
    except PoisonError as error:
        _fail(f"{message}: {error}", 1)
    shown = {name: value for name, value in msgspec.structs.asdict(reading).items() if value not in (None, ())}
    click.echo(json.dumps({"space": sensor.space, "occupied": reading.occupied, **shown}, indent=2))


def _shown(address: intake.Address, read: PlateRead) -> dict[str, object]:
    """Return a read as the gateway would take it: ``camera`` null is a channel of no camera."""
    camera = address.camera(read.channel)
    return {
        "camera": camera.name if camera else None,
        "decided": camera is not None and read.anpr and read.active,
        "plate": plates.normalise(read.plate or ""),
        "written": read.plate,
        "confidence": read.confidence,
        "time": None if read.at is None else _iso(read.at),
        "direction": read.direction,
        "car": read.car_id,
        "channel": read.channel,
        "event": read.event_id,
    }


def _iso(ms: int) -> str:
    return datetime.fromtimestamp(ms / 1000, UTC).isoformat(timespec="milliseconds")
