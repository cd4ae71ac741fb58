"""Looks at everything that the doctor judges: devices, servers, overlay, host. Nothing is sent that moves a barrier.

Everything is asked at the same time and waits a few seconds at most, so that a site where nothing answers is looked at
in one breath. Blocking: the agent calls it in a thread.
"""

import errno
import socket
import time
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx

from parkmesh.gateway import host, overlay_path, reach
from parkmesh.gateway.config import Config
from parkmesh.gateway.doctor import Looks, ServerLook
from parkmesh.gateway.overlay_path import Overlay, OverlayError

_TIMEOUT_S = 2.0
_AT_ONCE = 16
_CLOCK_STEP_S = 2
_CAMERA_PORTS = (80, 443, 554)
"""HTTP, HTTPS, RTSP: a camera that is there takes or refuses a connection at one of them."""


def look(config: Config, status: Mapping[str, Any], token: str | None, now: int) -> Looks:
    """Look at a gateway whose agent's status (or what its spool tells) is known. ``now`` in ms since 1970.

    ``token`` is the gateway's for its servers, None where it can't be read: then they are only asked whether they
    are there.
    """
    told = status.get("cameras") or {}
    addresses = {one.name: one.host or (told.get(one.name) or {}).get("from") for one in config.cameras}
    known = {name: address for name, address in addresses.items() if address}
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        relays = pool.submit(reach.unreachable, config.gates)
        broker = pool.submit(_connection, config.mqtt.host, config.mqtt.port) if config.mqtt else None
        cameras = dict(zip(known, pool.map(_camera, known.values()), strict=True))
        servers = dict(zip(config.servers, pool.map(lambda url: server(url, token), config.servers), strict=True))
        # After the servers were called: the kernel knows its neighbours now.
        overlay, fault = _overlay(config.servers)
        return Looks(
            now=now,
            status=status,
            host=host.read(Path(config.spool)),
            cameras=cameras,
            relays=relays.result(),
            servers=servers,
            broker=broker.result() if broker else None,
            overlay=overlay,
            overlay_fault=fault,
            list_written=_written(Path(config.spool + ".list")),
        )


def server(url: str, token: str | None, clock: Callable[[], float] = time.time) -> ServerLook:
    """Return what a server answers to a gateway."""
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    secure = url.startswith("https:")  # the certificates of the world take long to read and much room
    try:
        response = httpx.get(
            f"{url.rstrip('/')}/edge/v1/servers", headers=headers, timeout=_TIMEOUT_S, trust_env=False, verify=secure
        )
    except httpx.HTTPError as error:
        return ServerLook(fault=str(error) or type(error).__name__)
    skew = None
    with suppress(KeyError, ValueError, TypeError):
        skew = _skew_ms(parsedate_to_datetime(response.headers["Date"]).timestamp(), clock())
    if not token and response.status_code in (401, 403):
        return ServerLook(skew_ms=skew)
    # A server of the first release has no such address; it is there all the same.
    fault = "" if response.status_code in (200, 404) else f"HTTP {response.status_code}"
    return ServerLook(fault, response.status_code, skew)


def _skew_ms(said: float, now: float) -> int:
    """Return a server's time minus ours: it says whole seconds, and those of its last look at the clock."""
    difference = said - now
    return 0 if abs(difference) <= _CLOCK_STEP_S else round(difference * 1000)


def _camera(address: str) -> str | None:
    """Return why a device isn't there, None if it is."""
    with ThreadPoolExecutor(len(_CAMERA_PORTS)) as pool:
        faults = list(pool.map(lambda port: _connection(address, port), _CAMERA_PORTS))
    return None if any(fault in (None, _REFUSED) for fault in faults) else faults[0]


_REFUSED = "Connection refused"


def _connection(address: str, port: int) -> str | None:
    try:
        socket.create_connection((address, port), timeout=_TIMEOUT_S).close()
    except TimeoutError:
        return "no answer"
    except OSError as error:
        return _REFUSED if error.errno == errno.ECONNREFUSED else error.strerror or str(error)
    return None


def _overlay(servers: Iterable[str]) -> tuple[Overlay | None, str]:
    hosts = [urlsplit(url).hostname or "" for url in servers]
    try:
        return overlay_path.look(hosts), ""
    except OverlayError as error:
        return None, str(error)


def _written(path: Path) -> int | None:
    try:
        return int(path.stat().st_mtime * 1000)
    except OSError:
        return None
