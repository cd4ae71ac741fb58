"""Shelly's relays of the second generation: turn one on for a moment, and say whether it confirmed.

Short time-outs: a driver waits, and one dead relay must not keep the other gates. A request that may have reached the
relay is never repeated: many barriers take a second pulse as 'stop'.
"""

import itertools

import httpx
import msgspec
from msgspec import Struct

from parkmesh.gateway.config import Relay
from parkmesh.gateway.drivers.types import RelayError

TIMEOUT = httpx.Timeout(2.0, connect=1.0)


class _RpcError(Struct):
    code: int = 0
    message: str = ""


class _WasOn(Struct):
    was_on: bool


class _SwitchSetAnswer(Struct):
    result: _WasOn | None = None
    error: _RpcError | None = None


class _InputState(Struct):
    state: bool | None = None


class _InputAnswer(Struct):
    result: _InputState | None = None


_ids = itertools.count(1)


def switch_set(relay: Relay) -> dict[str, object]:
    """Return Shelly's Gen2 RPC frame that turns the switch on and, by its own timer, off again."""
    return {
        "id": next(_ids),
        "src": "parkmesh",
        "method": "Switch.Set",
        "params": {"id": relay.switch, "on": True, "toggle_after": relay.pulse_s},
    }


async def pulse(client: httpx.AsyncClient, relay: Relay) -> None:
    """Open the barrier; return when the relay confirmed the pulse, raise RelayError otherwise."""
    url, frame = f"{relay.url.rstrip('/')}/rpc", switch_set(relay)
    try:
        try:
            response = await client.post(url, json=frame, timeout=TIMEOUT)
        except (httpx.ConnectError, httpx.ConnectTimeout):
            # Nothing was sent yet: one more try costs no double pulse.
            response = await client.post(url, json=frame, timeout=TIMEOUT)
    except httpx.HTTPError as error:
        sent = not isinstance(error, httpx.ConnectError | httpx.ConnectTimeout)
        raise RelayError(f"{type(error).__name__} at {relay.url}", may_have_moved=sent) from None
    try:
        answer = msgspec.json.decode(response.content, type=_SwitchSetAnswer)
    except (msgspec.DecodeError, UnicodeDecodeError):
        raise RelayError(f"HTTP {response.status_code} without an RPC answer from {relay.url}") from None
    if answer.error is not None:
        raise RelayError(f"{relay.url} answered error {answer.error.code}: {answer.error.message[:100]}")
    if response.status_code != 200 or answer.result is None:
        raise RelayError(f"HTTP {response.status_code} without a result from {relay.url}")
    if answer.result.was_on:
        raise RelayError(f"the switch of {relay.url} was on already, so the barrier saw no pulse")


async def closed(client: httpx.AsyncClient, relay: Relay) -> bool | None:
    """Ask the input that is on while the barrier is closed; None where none is connected or it has no state."""
    if relay.closed_input is None:
        return None
    frame = {"id": next(_ids), "src": "parkmesh", "method": "Input.GetStatus", "params": {"id": relay.closed_input}}
    try:
        response = await client.post(f"{relay.url.rstrip('/')}/rpc", json=frame, timeout=TIMEOUT)
        answer = msgspec.json.decode(response.content, type=_InputAnswer)
    except (httpx.HTTPError, ValueError) as error:
        raise RelayError(f"{type(error).__name__} at {relay.url}") from None
    return answer.result.state if answer.result else None
