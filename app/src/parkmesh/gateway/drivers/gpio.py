"""Relays at the gateway's own GPIO lines: a line is active for the pulse, and inactive after it.

Source: libgpiod 2's Python bindings (git.kernel.org/…/libgpiod.git, bindings/python). A line that was requested stays
ours, so that its value is known until the process ends; then the kernel decides.
"""

import asyncio

import gpiod
import httpx
from gpiod.line import Bias, Direction, Value

from parkmesh.gateway.drivers.types import RelayError
from parkmesh.gateway.gates import Contact, Question, Relay

_requests: dict[tuple[str, int], gpiod.LineRequest] = {}


async def pulse(client: httpx.AsyncClient, relay: Relay) -> None:
    """Make the line active for the pulse. Raises RelayError where there is no such line, or another program has it."""
    line = int(relay.switch)
    request = _line(relay, line, Direction.OUTPUT)
    _set(relay, request, line, Value.ACTIVE)
    try:
        await asyncio.sleep(relay.pulse_s)
    finally:
        _set(relay, request, line, Value.INACTIVE)


async def hold(client: httpx.AsyncClient, relay: Relay, seconds: float) -> None:
    """Make the line active, or inactive for 0. Raises RelayError."""
    line = int(relay.switch)
    _set(relay, _line(relay, line, Direction.OUTPUT), line, Value.ACTIVE if seconds else Value.INACTIVE)


async def ask(client: httpx.AsyncClient, relay: Relay, question: Question) -> bool | None:
    """Ask an input line, which is pulled to its inactive side; None where none is connected."""
    contact: Contact | None = relay.input_of(question)
    if contact is None:
        return None
    line = int(contact)
    request = _line(relay, line, Direction.INPUT)
    try:
        return request.get_value(line) is Value.ACTIVE
    except (OSError, ValueError) as error:
        raise RelayError(f"line {line} of {relay.chip}: {error}") from None


def _line(relay: Relay, line: int, direction: Direction) -> gpiod.LineRequest:
    key = relay.chip, line
    if key not in _requests:
        settings = gpiod.LineSettings(direction=direction, active_low=relay.active_low)
        if direction is Direction.INPUT:
            settings.bias = Bias.PULL_UP if relay.active_low else Bias.PULL_DOWN
        else:
            settings.output_value = Value.INACTIVE
        try:
            _requests[key] = gpiod.request_lines(relay.chip, {line: settings}, consumer="parkmesh")
        except (OSError, ValueError) as error:
            raise RelayError(f"line {line} of {relay.chip}: {error}") from None
    return _requests[key]


def _set(relay: Relay, request: gpiod.LineRequest, line: int, value: Value) -> None:
    try:
        request.set_value(line, value)
    except (OSError, ValueError) as error:
        raise RelayError(f"line {line} of {relay.chip}: {error}", may_have_moved=value is Value.ACTIVE) from None
