"""The gateway process: its parts put together, started in order, and ended so that nothing taken is left undone."""

import asyncio
import logging
import signal
import socket
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack, suppress
from pathlib import Path

import httpx
import msgspec
import uvicorn
from starlette.applications import Starlette

from parkmesh import __version__
from parkmesh.gateway import device_faults, drivers, watchdog
from parkmesh.gateway.barrier import Moves
from parkmesh.gateway.certificate import Certificate
from parkmesh.gateway.code_keyboard import Keyboard
from parkmesh.gateway.config import Config
from parkmesh.gateway.decider import Decider
from parkmesh.gateway.intake import Intake
from parkmesh.gateway.listener import application
from parkmesh.gateway.page import start as local_page
from parkmesh.gateway.pulling import Puller
from parkmesh.gateway.release_watch import SPREAD_HEARTBEATS, ReleaseWatch, release_folder
from parkmesh.gateway.sensor_feed import SensorFeed
from parkmesh.gateway.serving import Server, listening
from parkmesh.gateway.spool import Counts, Spool, SpoolError
from parkmesh.gateway.strays import Strays
from parkmesh.gateway.sync import Sync
from parkmesh.gateway.trusted_clock import TrustedClock

log = logging.getLogger("parkmesh.gateway")


_DISK_CHECK_S = 5.0
_NOTE_TIME_MS = 600_000
_MARKS_S = 60.0
"""Seconds after which the disk has the spool's marks: an SD card wears with each write."""
_TRUSTED_TIME = "trusted_time"
_ANSWER_S = 10.0
"""Seconds in which the agent's own listener must answer it."""
_FETCH_S = 4 * 3600.0
"""Seconds that a release may take to be fetched; what was fetched until then stays."""
_BUSY_S = 120.0
"""Longer than a gate takes for one read, with a relay that doesn't answer and a barrier that doesn't close."""


def now_ms() -> int:
    return time.time_ns() // 1_000_000


def status_document(config: Config, counts: Counts, epoch: int, list_version: int) -> dict[str, object]:
    """Return the part of the status that the spool alone tells; times are ms since 1970."""
    return {
        "gateway": config.name,
        "community": config.community,
        "version": __version__,
        "epoch": epoch,
        "backlog": counts.backlog,
        "undecided": counts.inbox,
        "quarantined": counts.quarantine,
        "dropped": counts.dropped,
        "access_list_version": list_version,
    }


def elapsed_ms() -> int:
    """Return a time that only rises, also while the machine sleeps."""
    return time.clock_gettime_ns(time.CLOCK_BOOTTIME) // 1_000_000


async def run(
    config: Config, token: str, *, config_file: Path | None = None, machine: Callable[[], int] = now_ms
) -> None:
    """Run the gateway until SIGTERM or SIGINT. Raises SpoolError or ListenError where it can't start.

    Without a ``config_file`` it fetches no releases: another process reads the configuration for that.
    """
    spool = Spool(Path(config.spool), now=machine(), max_bytes=int(config.spool_max_mb * 1024 * 1024))
    clock = TrustedClock(machine, elapsed_ms, stored_time(spool))
    if clock.doubtful:
        log.error("the clock is wrong: it must be later than %d ms since 1970; nobody is refused for it", clock.highest)
    try:
        manager = watchdog.of_this_process()
        with ExitStack() as listeners:
            sock = listeners.enter_context(listening(config.listen.host, config.listen.port, manager))
            secure = None
            if config.listen.tls_port is not None:
                secure = listeners.enter_context(listening(config.listen.host, config.listen.tls_port, manager))
            await _run(config, token, config_file, spool, sock, secure, clock, manager)
    finally:
        spool.close(clock())
    log.info("stopped")


async def _keep_on_disk(spool: Spool, decider: Decider, sync: Sync, clock: TrustedClock) -> None:
    """Bring the spool back to its disk as soon as that takes writes, keep its reserve and its marks, bring over what a
    damaged one still gives, and note the trusted time."""
    noted, flushed = 0, time.monotonic()
    while True:
        if spool.salvaging:
            while await asyncio.to_thread(spool.salvage, clock()):
                pass
            sync.wake()
        if time.monotonic() - flushed >= _MARKS_S:
            flushed = time.monotonic()
            await asyncio.to_thread(spool.flush_marks)
        if clock.highest - noted >= _NOTE_TIME_MS:
            noted = clock.highest
            states = {_TRUSTED_TIME: str(noted).encode()}
            with suppress(SpoolError):
                await decider.on_disk(lambda states=states: spool.settle([], None, states))  # type: ignore[misc]
        await asyncio.sleep(_DISK_CHECK_S)
        was_in_memory = spool.in_memory
        if await decider.on_disk(lambda: spool.recover(clock())) and was_in_memory:
            sync.wake()


async def _works(client: httpx.AsyncClient, sock: socket.socket, decider: Decider) -> bool:
    """Tell whether cameras get an answer, the disk takes its turn, and no gate has been stuck with one thing."""
    host, port = sock.getsockname()[:2]
    local = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(host, f"[{host}]" if ":" in host else host)  # noqa: S104
    try:
        # Any answer will do: a listener that is flooded won't be less so after a restart.
        await client.get(f"http://{local}:{port}/healthz", timeout=_ANSWER_S)
    except httpx.HTTPError as error:
        log.error("the listener doesn't answer (%s)", type(error).__name__)
        return False
    await decider.on_disk(lambda: None)
    busy = decider.longest_busy_s()
    if busy > _BUSY_S:
        log.error("a gate has been busy with one read or command for %d s", busy)
    return busy <= _BUSY_S


def stored_time(spool: Spool) -> int:
    """Return the highest time (ms since 1970) that the gateway ever trusted, 0 where the spool knows none."""
    stored = spool.state(_TRUSTED_TIME) or b""
    return int(stored) if stored.isdigit() and len(stored) < 15 else 0


def _of_listener(app: Starlette) -> uvicorn.Config:
    return uvicorn.Config(
        app,
        log_config=None,
        access_log=False,
        lifespan="off",
        server_header=False,
        timeout_keep_alive=30,
        timeout_graceful_shutdown=5,
        limit_concurrency=256,
    )


async def _fetch_release(config_file: Path | None, servers: list[str], serial: int) -> str | None:
    """Fetch a release in a process of its own; return what went wrong, None where it is ready."""
    if config_file is None:
        return "the agent has no configuration file"
    command = [sys.executable, "-P", "-m", "parkmesh", "gateway", "fetch-release", "--config", str(config_file)]
    command += [f"--number={serial}", *(f"--server={server}" for server in servers)]
    process = await asyncio.create_subprocess_exec(
        *command, stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.PIPE
    )
    try:
        _, said = await asyncio.wait_for(process.communicate(), _FETCH_S)
    except TimeoutError:
        return f"it couldn't be fetched within {_FETCH_S:g} s"
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    if process.returncode == 0:
        return None
    lines = said.decode(errors="replace").strip().splitlines()
    return lines[-1][:300] if lines else f"the fetch ended with exit code {process.returncode}"


async def _run(
    config: Config,
    token: str,
    config_file: Path | None,
    spool: Spool,
    sock: socket.socket,
    secure: socket.socket | None,
    clock: TrustedClock,
    manager: watchdog.Watchdog,
) -> None:
    """``sock`` is where cameras post, ``secure`` where they do over TLS."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    async with (
        # The overlay and the LAN are reached directly, whatever proxy the environment names.
        httpx.AsyncClient(trust_env=False) as devices,
        httpx.AsyncClient(trust_env=False, headers={"Authorization": f"Bearer {token}"}) as servers,
    ):
        decider = Decider(
            config,
            spool,
            lambda relay: drivers.pulse(devices, relay),
            clock=clock,
            appended=lambda: sync.wake(),
            doubtful=lambda: clock.doubtful,
            closed=lambda relay: drivers.ask(devices, relay, "closed"),
            moves=Moves(
                clear=lambda relay: drivers.ask(devices, relay, "clear"),
                close=lambda relay: drivers.close(devices, relay),
                hold=lambda relay, seconds: drivers.hold(devices, relay, seconds),
            ),
        )
        sync = Sync(config, spool, decider, servers, clock=clock)
        intake = Intake(config, spool, decider, clock=clock)
        hidden = [one.secret_path for one in intake.addresses.values()] + [one.secret_path for one in config.readers]
        strays = Strays(clock, {secret for secret in hidden if secret})
        feed = SensorFeed(config, spool, decider, clock=clock, appended=sync.wake, intake=intake, strays=strays)
        sync.device_faults = lambda: device_faults.faults(
            feed.sensors(),
            [*feed.silent_spaces(), *feed.counting.silent()],
            {gate: barrier.fault for gate, barrier in decider.barriers().items()},
        )
        sync.counters = feed.counting.readings
        pullers = {one.name: Puller(one, one.pull, intake, strays) for one in intake.addresses.values() if one.pull}
        keyboards = {one.name: Keyboard(one, decider) for one in config.readers if one.device}
        encrypted = Certificate(Path(config.certificate_file)) if config.certificate_file else None
        watch = ReleaseWatch(
            Path(config.spool),
            Path(config.token_file),
            release_folder(),
            lambda serial: _fetch_release(config_file, sync.servers, serial),
            sync.report_release,
            spread_s=SPREAD_HEARTBEATS * config.heartbeat_s,
        )
        sync.release_wanted = watch.told
        started = elapsed_ms()

        def status() -> dict[str, object]:
            return {
                **status_document(config, spool.counts(), spool.epoch, decider.list_version),
                "running": True,
                "up_s": (elapsed_ms() - started) // 1000,
                "last_sync": sync.last_sync,
                "last_error": sync.last_error,
                "errors": dict(sync.errors),
                "server": sync.server,
                "stream": sync.stream_up,
                "access_list_epoch": decider.list_epoch,
                "storing": "memory" if spool.in_memory else "disk",
                "disk_error": spool.disk_error,
                "salvaging": spool.salvaging,
                "access_list_whole": decider.list_whole,
                "rules_known": decider.rules_known,
                "server_skew_ms": decider.server_skew_ms,
                "clock_doubtful": clock.doubtful,
                "camera_clocks": decider.camera_clocks(),
                "barriers": {gate: msgspec.structs.asdict(one) for gate, one in decider.barriers().items()},
                "streams": {name: msgspec.structs.asdict(one.state) for name, one in pullers.items()},
                "readers": {name: msgspec.structs.asdict(one.state) for name, one in keyboards.items()},
                "tls": {"fault": encrypted.fault} if encrypted else None,
                "mqtt": feed.connected if config.mqtt else None,
                "mqtt_fault": feed.fault,
                "silent_sensors": feed.silent_sensors(),
                "sensors": {space: msgspec.structs.asdict(health) for space, health in feed.sensors().items()},
                "counters": {one.name: msgspec.to_builtins(one) for one in feed.counting.readings()},
                "silent_cameras": decider.silent_cameras(),
                "release": watch.document(),
                "cameras": {
                    name: {"last": decider.last_seen.get(name), "from": intake.sender(camera)}
                    for name, camera in decider.cameras.items()
                },
            }

        app = application(intake, decider, status, strays, config.readers)
        listeners = [(Server(_of_listener(app), lambda: manager.tell(watchdog.READY)), sock)]
        if secure is not None and encrypted is not None:
            listeners.append((Server(_of_listener(app), context=encrypted.context), secure))
        # In the order in which they end: no new messages, then everything taken is settled, then the last push stops.
        listening = {asyncio.create_task(listener.serve(sockets=[one])) for listener, one in listeners}
        deciding = asyncio.create_task(decider.run())
        background = [
            asyncio.create_task(sync.run()),
            asyncio.create_task(watch.run()),
            asyncio.create_task(_keep_on_disk(spool, decider, sync, clock)),
            asyncio.create_task(manager.keep(lambda: _works(devices, sock, decider))),
        ]
        background += [asyncio.create_task(one.run()) for one in pullers.values()]
        background += [asyncio.create_task(one.run()) for one in keyboards.values()]
        if encrypted:
            background.append(asyncio.create_task(encrypted.watch()))
        if decider.barriers():
            background.append(asyncio.create_task(decider.watch()))
        if config.mqtt:
            background.append(asyncio.create_task(feed.run(config.mqtt)))
            background.append(asyncio.create_task(feed.watch()))
        if config.local_page:
            background.append(
                asyncio.create_task(
                    local_page.serve(
                        config,
                        token,
                        decider,
                        lambda: {**status(), "wrong_posts": strays.document()},
                        feed.told,
                        clock,
                        encrypted.context if encrypted and config.local_page.tls else None,
                    )
                )
            )
        log.info(
            "gateway %s %s: listening on %s:%d", config.name, __version__, config.listen.host, sock.getsockname()[1]
        )
        stopping = asyncio.create_task(stop.wait())
        parts = {stopping, *listening, deciding, *background}
        try:
            # A part that ends by itself is a defect: stop, and let systemd start us again.
            await asyncio.wait(parts, return_when=asyncio.FIRST_COMPLETED)
        finally:
            log.info("stopping")
            manager.tell(watchdog.STOPPING)
            for listener, _ in listeners:
                listener.should_exit = True
            await asyncio.wait(listening)
            decider.stop()
            await asyncio.wait({deciding})
            for task in (stopping, *background):
                task.cancel()
            results = await asyncio.gather(*parts, return_exceptions=True)
            decider.close()
    for result in results:
        if isinstance(result, Exception):
            raise result
