"""Relay boards on Modbus TCP: a coil is written on and, after the pulse, off; a discrete input is read.

Source: Modbus Application Protocol V1.1b3, functions 5 (write single coil) and 2 (read discrete inputs). A coil has no
timer: the gateway ends the pulse, and insists. Boards that speak Modbus RTU over TCP are another thing.
"""

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import httpx

from parkmesh.gateway.drivers.types import RelayError
from parkmesh.gateway.gates import Question, Relay

if TYPE_CHECKING:
    from pymodbus.client import AsyncModbusTcpClient

log = logging.getLogger("parkmesh.gateway")

PORT = 502
TIMEOUT_S = 2.0
_OFF_TRIES, _OFF_AGAIN_S = 10, 0.5


@asynccontextmanager
async def board(relay: Relay) -> AsyncIterator["AsyncModbusTcpClient"]:
    """Connect to a board. Raises RelayError."""
    # Only gateways with such a board pay for the library's memory.
    from pymodbus.client import AsyncModbusTcpClient

    parts = urlsplit(relay.url)
    client = AsyncModbusTcpClient(
        parts.hostname or "",
        port=parts.port or PORT,
        timeout=TIMEOUT_S,
        # A request that may have arrived is never repeated.
        retries=0,
        reconnect_delay=0,
    )
    try:
        if not await client.connect():
            raise RelayError(f"no connection to {relay.url}")
        yield client
    finally:
        client.close()


async def answered(relay: Relay, request: Any, *, moves: bool = False) -> Any:
    """Await a board's answer. Raises RelayError where there is none, or where it is an exception."""
    from pymodbus.exceptions import ModbusException

    try:
        answer = await request
    except (ModbusException, OSError, TimeoutError) as error:
        raise RelayError(f"{type(error).__name__} at {relay.url}", may_have_moved=moves) from None
    if answer.isError():
        raise RelayError(f"{relay.url} answered Modbus exception {getattr(answer, 'exception_code', '?')}")
    return answer


async def pulse(client: httpx.AsyncClient, relay: Relay) -> None:
    """Turn the coil on and, after the pulse, off. Raises RelayError where it didn't confirm that it is on."""
    try:
        await _write(relay, True)
    except RelayError as error:
        if error.may_have_moved:
            await _off(relay)
        raise
    try:
        await asyncio.sleep(relay.pulse_s)
    finally:
        await asyncio.shield(_off(relay))


async def hold(client: httpx.AsyncClient, relay: Relay, seconds: float) -> None:
    """Turn the coil on, or off for 0. Raises RelayError where the board doesn't confirm."""
    await _write(relay, bool(seconds))


async def ask(client: httpx.AsyncClient, relay: Relay, question: Question) -> bool | None:
    """Ask a discrete input; None where none is connected."""
    contact = relay.input_of(question)
    if contact is None:
        return None
    async with board(relay) as to:
        request = to.read_discrete_inputs(int(contact), count=1, device_id=relay.unit)
        answer = await answered(relay, request)
    return bool(answer.bits[0])


async def _off(relay: Relay) -> None:
    """Turn the coil off, however often it takes: a coil that stays on keeps the barrier open."""
    for tries in range(_OFF_TRIES):
        try:
            await _write(relay, False)
            return
        except RelayError as error:
            if tries == 0:
                log.warning("%s: the switch isn't off yet: %s", relay.url, error)
            await asyncio.sleep(_OFF_AGAIN_S)
    log.error("%s: switch %s may have stayed on", relay.url, relay.switch)


async def _write(relay: Relay, on: bool) -> None:
    async with board(relay) as to:
        await answered(relay, to.write_coil(int(relay.switch), on, device_id=relay.unit), moves=True)
