"""Relays without HTTP: Modbus boards against a Modbus server, GPIO lines against a chip of the same shape."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import gpiod
import httpx
import pytest
from gpiod.line import Direction, Value
from parkmesh.gateway import drivers
from parkmesh.gateway.drivers import gpio, modbus_tcp
from parkmesh.gateway.drivers.types import RelayError
from parkmesh.gateway.gates import Relay
from pymodbus.datastore import ModbusDeviceContext, ModbusSequentialDataBlock, ModbusServerContext
from pymodbus.server import ModbusTcpServer

CLIENT = httpx.AsyncClient(trust_env=False)


@asynccontextmanager
async def board() -> AsyncIterator[tuple[str, list[tuple[float, bytes]]]]:
    """A board with eight inputs, of which the first is on, and what it was sent."""
    received: list[tuple[float, bytes]] = []

    def heard(sending: bool, packet: bytes) -> bytes:
        if not sending:
            received.append((time.monotonic(), packet))
        return packet

    device = ModbusDeviceContext(
        co=ModbusSequentialDataBlock(1, [0] * 1024),  # type: ignore[list-item]
        di=ModbusSequentialDataBlock(1, [1] + [0] * 7),  # type: ignore[list-item]
    )
    context = ModbusServerContext(devices={3: device}, single=False)
    server = ModbusTcpServer(context, address=("127.0.0.1", 0), trace_packet=heard)
    await server.listen()
    port = server.transport.sockets[0].getsockname()[1]  # type: ignore[union-attr]
    yield f"modbus://127.0.0.1:{port}", received
    await server.shutdown()


def pdus(received: list[tuple[float, bytes]]) -> list[str]:
    """Return what was sent without the header's transaction, protocol and length, in hexadecimal."""
    return [packet[6:].hex(" ") for _, packet in received]


async def count(received: list[tuple[float, bytes]], least: int) -> None:
    async with asyncio.timeout(5):
        while len(received) < least:  # noqa: ASYNC110 -- the board has no event for it
            await asyncio.sleep(0.01)


async def test_a_coil_is_on_for_the_pulse_and_off_after_it() -> None:
    async with board() as (url, received):
        await drivers.pulse(CLIENT, Relay(url, "modbus_tcp", switch=2, pulse_s=0.2, unit=3))
        assert pdus(received) == ["03 05 00 02 ff 00", "03 05 00 02 00 00"]
        assert 0.15 < received[1][0] - received[0][0] < 1


async def test_a_coil_goes_off_though_the_agent_stops_within_the_pulse() -> None:
    async with board() as (url, received):
        pulsing = asyncio.ensure_future(drivers.pulse(CLIENT, Relay(url, "modbus_tcp", pulse_s=30, unit=3)))
        await count(received, 1)
        pulsing.cancel()
        await asyncio.wait([pulsing])
        await count(received, 2)
        assert pdus(received)[-1] == "03 05 00 00 00 00"


async def test_a_boards_own_timer_ends_the_pulse() -> None:
    async with board() as (url, received):
        await drivers.pulse(CLIENT, Relay(url, "waveshare_modbus", switch=1, pulse_s=0.7, unit=3))
        assert pdus(received) == ["03 05 02 01 00 07"], "flash on, relay 1, seven tenths"


async def test_inputs_of_a_board() -> None:
    async with board() as (url, received):
        relay = Relay(url, "modbus_tcp", unit=3, closed_input=0, clear_input=5)
        assert await drivers.ask(CLIENT, relay, "closed") is True
        assert await drivers.ask(CLIENT, relay, "clear") is False
        assert pdus(received) == ["03 02 00 00 00 01", "03 02 00 05 00 01"]
        assert await drivers.ask(CLIENT, Relay(url, "modbus_tcp", unit=3), "closed") is None


async def test_a_board_that_answers_with_an_exception_moves_nothing() -> None:
    async with board() as (url, _):
        with pytest.raises(RelayError, match="Modbus exception") as caught:
            await drivers.pulse(CLIENT, Relay(url, "modbus_tcp", pulse_s=0.1, unit=4))
        assert not caught.value.may_have_moved


async def test_a_board_that_takes_the_pulse_and_says_nothing_is_asked_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(modbus_tcp, "TIMEOUT_S", 0.2)
    monkeypatch.setattr(modbus_tcp, "_OFF_TRIES", 1)
    received: list[bytes] = []

    async def deaf(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while packet := await reader.read(256):
            received.append(packet[7:])
        writer.close()

    async with await asyncio.start_server(deaf, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        with pytest.raises(RelayError) as caught:
            await drivers.pulse(CLIENT, Relay(f"modbus://127.0.0.1:{port}", "modbus_tcp", pulse_s=0.1))
    assert caught.value.may_have_moved
    on, off = bytes.fromhex("05 0000 ff00"), bytes.fromhex("05 0000 0000")
    assert received == [on, off], "one pulse, and then off in any case"


async def test_no_board() -> None:
    with pytest.raises(RelayError, match="no connection") as caught:
        await drivers.pulse(CLIENT, Relay("modbus://127.0.0.1:1", "modbus_tcp"))
    assert not caught.value.may_have_moved


class Chip:
    """A double of a GPIO chip: this machine has none. It takes what gpiod's own types describe, and keeps values."""

    def __init__(self) -> None:
        self.told: list[tuple[int, Value]] = []
        self.settings: dict[int, gpiod.LineSettings] = {}
        self.inputs: dict[int, Value] = {}

    def request_lines(self, path: str, config: dict[int, gpiod.LineSettings], consumer: str) -> Any:
        if any(line in self.settings for line in config):
            raise OSError(16, "Device or resource busy")
        self.settings |= config
        return self

    def set_value(self, line: int, value: Value) -> None:
        self.told.append((line, value))

    def get_value(self, line: int) -> Value:
        return self.inputs[line]


@pytest.fixture
def chip(monkeypatch: pytest.MonkeyPatch) -> Chip:
    if Path("/dev/gpiochip0").exists():
        print("there is a real chip here; its lines belong to somebody, so the double is used all the same")
    double = Chip()
    monkeypatch.setattr(gpiod, "request_lines", double.request_lines)
    monkeypatch.setattr(gpio, "_requests", {})
    return double


async def test_a_line_is_active_for_the_pulse(chip: Chip) -> None:
    relay = Relay(kind="gpio", switch=17, pulse_s=0.05, closed_input=27, active_low=True)
    for _ in range(2):  # the line stays ours in between
        await drivers.pulse(CLIENT, relay)
    assert chip.told == [(17, Value.ACTIVE), (17, Value.INACTIVE)] * 2
    assert chip.settings[17].direction is Direction.OUTPUT
    assert chip.settings[17].output_value is Value.INACTIVE
    assert chip.settings[17].active_low
    chip.inputs[27] = Value.ACTIVE
    assert await drivers.ask(CLIENT, relay, "closed") is True
    assert chip.settings[27].direction is Direction.INPUT


async def test_a_line_goes_inactive_though_the_agent_stops_within_the_pulse(chip: Chip) -> None:
    pulsing = asyncio.ensure_future(drivers.pulse(CLIENT, Relay(kind="gpio", pulse_s=30)))
    await asyncio.sleep(0)
    pulsing.cancel()
    await asyncio.wait([pulsing])
    assert chip.told == [(0, Value.ACTIVE), (0, Value.INACTIVE)]


async def test_a_line_that_another_program_has(chip: Chip) -> None:
    chip.settings[17] = gpiod.LineSettings()
    with pytest.raises(RelayError, match="busy") as caught:
        await drivers.pulse(CLIENT, Relay(kind="gpio", switch=17))
    assert not caught.value.may_have_moved


@pytest.mark.skipif(Path("/dev/gpiochip999").exists(), reason="there is such a chip")
async def test_a_chip_that_is_not_there() -> None:
    with pytest.raises(RelayError, match="gpiochip999"):
        await drivers.pulse(CLIENT, Relay(kind="gpio", chip="/dev/gpiochip999"))
