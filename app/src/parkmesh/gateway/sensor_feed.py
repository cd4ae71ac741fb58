"""What comes from the community's MQTT broker, sensors' uplinks, detectors' states and recorders' reads: subscribed for
good, acknowledged when on disk."""

import asyncio
import logging
from collections.abc import Callable, Sequence
from contextlib import suppress
from itertools import groupby
from pathlib import Path
from typing import Any

import aiomqtt
from msgspec import Struct

from parkmesh.gateway import drivers
from parkmesh.gateway.backoff import Backoff
from parkmesh.gateway.config import Config, Mqtt
from parkmesh.gateway.counting import STATE, Counting
from parkmesh.gateway.decider import Decider
from parkmesh.gateway.drivers.types import PoisonError, SensorReading, Uplink
from parkmesh.gateway.intake import Intake
from parkmesh.gateway.spool import Spool, SpoolError
from parkmesh.gateway.strays import Strays
from parkmesh.protocol.edge import SpaceState, Times

log = logging.getLogger("parkmesh.gateway")

_MAX_QUARANTINED_TOPIC = 200
_WATCH_S = 60.0
_REFUSALS = (4, 5, 134, 135)
"""MQTT 3.1.1, 3.2.2.3, and MQTT 5.0, 3.2.2.2: a wrong user or password, or a client that may not connect."""
_TOGETHER, _TOGETHER_S = 50, 0.05
"""Messages that are kept in one step at most, and how long more of them are waited for: each step is a flush of the
disk, for which cars wait, too, and wears an SD card. Mosquitto sends 20 messages that aren't acknowledged, so that 400
a second still come through."""


class SensorHealth(Struct, frozen=True):
    """What a sensor said of itself, and how well it was heard; None for what it never said. ``at``: ms since 1970.

    ``rssi`` in dBm and ``snr`` in dB are of the last message over LoRaWAN.
    """

    at: int = 0
    battery_percent: int | None = None
    battery_v: float | None = None
    battery_low: bool | None = None
    temperature_c: float | None = None
    tilted: bool | None = None
    rssi: float | None = None
    snr: float | None = None

    def after(self, at: int, reading: SensorReading, uplink: Uplink | None) -> "SensorHealth":
        """Return what is known after one more message: most messages have some of it only."""

        def newer(name: str) -> Any:
            told = getattr(reading, name)
            return getattr(self, name) if told is None else told

        names = ("battery_percent", "battery_v", "battery_low", "temperature_c", "tilted")
        rssi, snr = (uplink.rssi, uplink.snr) if uplink else (None, None)
        return SensorHealth(at, **{name: newer(name) for name in names}, rssi=rssi, snr=snr)


class SensorFeed:
    """Turns uplinks into space states in the spool; ``appended`` is called after each. Hands recorders' messages to
    ``intake``, and tells ``strays`` of their channels that no camera has."""

    def __init__(
        self,
        config: Config,
        spool: Spool,
        decider: Decider,
        *,
        clock: Callable[[], int],
        appended: Callable[[], None],
        intake: Intake | None = None,
        strays: Strays | None = None,
    ) -> None:
        self._recorders = intake.topics if intake else {}
        self._intake, self._strays = intake, strays
        self._config, self._spool, self._decider = config, spool, decider
        self._clock, self._appended = clock, appended
        self._sensors = {sensor.id: sensor for sensor in config.sensors}
        self._topics = {sensor.topic: sensor for sensor in config.sensors if sensor.topic is not None}
        self._heard = {sensor.id: clock() for sensor in config.sensors}
        self._health: dict[str, SensorHealth] = {}
        self._silent: set[str] = set()
        self._told: dict[str, tuple[int, str]] = {}
        self.connected = False
        self.fault = ""
        """Why the agent isn't connected to the broker; empty while it is, and before it tried."""
        self.counting = Counting(config.counters, config.sensor_silence_s, spool.state(STATE), clock=clock)
        self._counted = set(self.counting.topics)
        self._alone = self._counted | set(self._recorders)

    def silent_sensors(self) -> list[str]:
        """Return the sensors that sent nothing for longer than the configured silence; their spaces are unknown."""
        return sorted(self._silent)

    def told(self) -> dict[str, tuple[int, str]]:
        """Return when each sensor told its space's state last (ms since 1970), and the state, by its id."""
        return dict(self._told)

    def silent_spaces(self) -> list[str]:
        """Return the spaces whose sensors are silent."""
        return sorted(self._sensors[id].space for id in self._silent)

    def sensors(self) -> dict[str, SensorHealth]:
        """Return what each sensor last said of its battery, and how well it was heard; by space."""
        return {self._sensors[id].space: health for id, health in self._health.items()}

    async def note_silence(self) -> None:
        """Say once of each space whose sensor is silent that its state isn't known."""
        now = self._clock()
        for sensor in self._sensors.values():
            silence_s = self._config.sensor_silence_s if sensor.silence_s is None else sensor.silence_s
            if self._heard[sensor.id] >= now - int(silence_s * 1000):
                self._silent.discard(sensor.id)
            elif sensor.id not in self._silent:
                event = SpaceState(1, Times(now), sensor.space, "unknown", sensor.id)
                await self._decider.on_disk(lambda event=event: self._spool.append(event))  # type: ignore[misc]
                self._silent.add(sensor.id)
                log.warning("space %s: its sensor is silent, so its state isn't known", sensor.space)
                self._appended()

    async def watch(self) -> None:
        """Look for silent sensors until cancelled. While the broker is away, nobody knows who is silent."""
        while True:
            await asyncio.sleep(_WATCH_S)
            if self.connected:
                with suppress(SpoolError):
                    await self.note_silence()

    async def take(self, topic: str, payload: bytes) -> None:
        """Keep what one message says; return when it is on disk. Foreign devices and stateless messages are passed."""
        await self.take_all([(topic, payload)])

    def steps(self, messages: Sequence[aiomqtt.Message]) -> list[list[aiomqtt.Message]]:
        """Return messages, in their order, as they are to be kept and acknowledged: sensors' together, and any other by
        itself. A count that comes again, because one beside it couldn't be kept, would be counted twice."""
        found: list[list[aiomqtt.Message]] = []
        for alone, run in groupby(messages, lambda one: str(one.topic) in self._alone):
            together = list(run)
            found += [[one] for one in together] if alone else [together]
        return found

    async def take_all(self, messages: Sequence[tuple[str, bytes]]) -> None:
        """Keep what messages say, the states of spaces in one step; return when all is on disk."""
        others = []
        for topic, payload in messages:
            if topic in self._recorders:
                await self._take_read(topic, payload)
            else:
                others.append((topic, payload))
        if not others:
            return
        await self._decider.give_way()
        told: list[tuple[SpaceState, str | None]] = []
        for topic, payload in others:
            try:
                if topic in self._counted:
                    await self._count(topic, payload)
                else:
                    told += self._understood(topic, payload)
            except PoisonError as error:
                await self._set_aside("counter" if topic in self._counted else "sensor", topic, payload, str(error))
        if told:
            await self._keep(told)

    def _understood(self, topic: str, payload: bytes) -> list[tuple[SpaceState, str | None]]:
        """Return the state that a sensor's message tells, if any, and the key under which it is kept once.

        Raises PoisonError for a message that can't be read.
        """
        now = self._clock()
        sensor, uplink = self._topics.get(topic), None
        if sensor is None:
            uplink = drivers.parse_uplink(payload)
            sensor = self._sensors.get(uplink.dev_eui)
        if sensor is None:
            return []
        self._heard[sensor.id] = now
        if uplink is not None and not uplink.payload and sensor.mapping is None:  # the network's own messages
            return []
        reading = drivers.sensor_reading(sensor, payload, uplink)
        before = self._health.get(sensor.id, SensorHealth())
        self._health[sensor.id] = before.after(now, reading, uplink)
        if reading.occupied is None and not reading.tilted:
            return []
        event = SpaceState(
            seq=1,
            times=Times(now, uplink.at if uplink else None),
            space=sensor.space,
            # A tilted sensor looks elsewhere.
            status="unknown" if reading.occupied is None else "occupied" if reading.occupied else "free",
            sensor=sensor.id,
        )
        self._told[sensor.id] = now, event.status
        # The broker delivers at least once; the network server's own id makes it once.
        return [(event, f"uplink/{uplink.deduplication_id}" if uplink and uplink.deduplication_id else None)]

    async def _keep(self, told: list[tuple[SpaceState, str | None]]) -> None:
        new = await self._decider.on_disk(lambda: self._spool.append_all(told))
        for (event, _), is_new in zip(told, new, strict=True):
            if is_new:
                log.info("space %s: %s", event.space, event.status)
        if any(new):
            self._appended()
        if self._spool.in_memory:
            # The server hears of it, and the broker keeps it until it is on disk.
            raise SpoolError(self._spool.disk_error or "the spool is in memory")

    async def _count(self, topic: str, payload: bytes) -> None:
        if self.counting.take(topic, payload):
            totals = {STATE: self.counting.state()}
            await self._decider.on_disk(lambda: self._spool.settle([], None, totals))

    async def _set_aside(self, whose: str, topic: str, payload: bytes, error: str) -> None:
        log.warning("%s message put in quarantine: %s", whose, error)
        source, now = topic[:_MAX_QUARANTINED_TOPIC], self._clock()
        await self._decider.on_disk(lambda: self._spool.quarantine(source, now, error, payload))

    async def _take_read(self, topic: str, payload: bytes) -> None:
        assert self._intake is not None
        try:
            strangers = await self._intake.take(self._recorders[topic], payload, "")
        except PoisonError as error:
            log.warning("recorder %s: message put in quarantine: %s", self._recorders[topic].name, error)
            return
        for channel in strangers:
            if self._strays is not None:
                self._strays.note("unknown_channel", "mqtt", "-", topic, channel)

    async def run(self, broker: Mqtt) -> None:
        """Stay subscribed until cancelled; reconnect when the broker goes away."""
        backoff, told = Backoff(), ""
        while True:
            try:
                await self._session(broker, backoff)
            except (aiomqtt.MqttError, OSError) as error:
                self.fault = _fault(broker, error)
                if self.fault != told:  # once per outage
                    log.warning("broker %s:%d: %s", broker.host, broker.port, self.fault)
                told = "" if self.connected else self.fault
            except SpoolError as error:
                # Not acknowledged: the broker sends it again after we reconnect.
                log.error("message of the broker not kept: %s", error)
            self.connected = False
            self.counting.connected(False)
            await asyncio.sleep(backoff.next_s())

    async def _session(self, broker: Mqtt, backoff: Backoff) -> None:
        client = aiomqtt.Client(
            broker.host,
            broker.port,
            identifier=f"parkmesh-{self._config.name}",
            # The broker keeps our subscription and what comes while we are away.
            clean_session=False,
            username=broker.user,
            password=_password(broker),
        )
        # aiomqtt has no manual acknowledgement of its own; paho, beneath it, does. Set before connecting.
        paho = client._client
        paho.manual_ack_set(True)
        async with client:
            for topic in [*broker.topics, *self._topics, *self._recorders, *self._counted]:
                await client.subscribe(topic, qos=1)
            self.connected, self.fault = True, ""
            self.counting.connected(True)
            backoff.reset()
            log.info("subscribed at broker %s:%d", broker.host, broker.port)
            async for message in client.messages:
                if not self._recorders:  # a car's read by MQTT waits for no other
                    await asyncio.sleep(_TOGETHER_S)
                more = min(len(client.messages), _TOGETHER - 1)
                together = [message, *[await anext(client.messages) for _ in range(more)]]
                for step in self.steps(together):
                    await self.take_all([(str(one.topic), _payload(one)) for one in step])
                    for one in step:
                        paho.ack(one.mid, one.qos)


def _password(broker: Mqtt) -> str | None:
    """The account's password as it is now: whoever changes it restarts nothing. Raises OSError with the file's name."""
    return (
        Path(broker.password_file).read_text(encoding="utf-8", errors="replace").strip()
        if broker.password_file
        else None
    )


def _fault(broker: Mqtt, error: Exception) -> str:
    """Why there is no connection, in a few words. Never with a password."""
    if isinstance(error, aiomqtt.MqttCodeError) and _code(error) in _REFUSALS:
        return f"it refuses the account {broker.user}" if broker.user else "it asks for an account, and there is none"
    return str(error) or type(error).__name__


def _code(error: aiomqtt.MqttCodeError) -> int | None:
    return error.rc if isinstance(error.rc, int) or error.rc is None else int(error.rc.value)


def _payload(message: aiomqtt.Message) -> bytes:
    return message.payload if isinstance(message.payload, bytes) else str(message.payload).encode()
