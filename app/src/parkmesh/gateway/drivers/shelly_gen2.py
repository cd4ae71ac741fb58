"""Shelly's relays of the second generation and later: turn one on for a moment, and say whether it confirmed.

Source: shelly-api-docs.shelly.cloud, gen2: Switch, Input, and Authentication (digest, SHA-256, user admin).
"""

import itertools

import httpx
import msgspec
from msgspec import Struct

from parkmesh.gateway.drivers import relay_http
from parkmesh.gateway.drivers.types import RelayError
from parkmesh.gateway.gates import Contact, Question, Relay


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


def switch_set(switch: Contact, seconds: float) -> dict[str, object]:
    """Return Shelly's Gen2 RPC frame that turns a switch on and, by its own timer, off again; off at once for 0."""
    params = {"id": switch, "on": True, "toggle_after": seconds} if seconds else {"id": switch, "on": False}
    return {"id": next(_ids), "src": "parkmesh", "method": "Switch.Set", "params": params}


async def pulse(client: httpx.AsyncClient, relay: Relay) -> None:
    """Open the barrier; return when the relay confirmed the pulse, raise RelayError otherwise."""
    if await _set(client, relay, switch_set(relay.switch, relay.pulse_s)):
        raise RelayError(f"the switch of {relay.url} was on already, so the barrier saw no pulse")


async def hold(client: httpx.AsyncClient, relay: Relay, seconds: float) -> None:
    """Keep the switch on for so long from now; 0 turns it off. Raises RelayError where the relay doesn't confirm."""
    await _set(client, relay, switch_set(relay.switch, seconds))


async def _set(client: httpx.AsyncClient, relay: Relay, frame: dict[str, object]) -> bool:
    """Set a switch; return whether it was on before."""
    response = await relay_http.request(
        client, relay, "POST", "/rpc", json=frame, auth=relay_http.digest(relay), moves=True
    )
    if response.status_code == 401:
        raise RelayError(f"{relay.url} refuses the password" if relay.password else f"{relay.url} wants a password")
    try:
        answer = msgspec.json.decode(response.content, type=_SwitchSetAnswer)
    except (msgspec.DecodeError, UnicodeDecodeError):
        raise RelayError(f"HTTP {response.status_code} without an RPC answer from {relay.url}") from None
    if answer.error is not None:
        raise RelayError(f"{relay.url} answered error {answer.error.code}: {answer.error.message[:100]}")
    if response.status_code != 200 or answer.result is None:
        raise RelayError(f"HTTP {response.status_code} without a result from {relay.url}")
    return answer.result.was_on


async def ask(client: httpx.AsyncClient, relay: Relay, question: Question) -> bool | None:
    """Ask an input; None where none is connected or it has no state."""
    contact = relay.input_of(question)
    if contact is None:
        return None
    frame = {"id": next(_ids), "src": "parkmesh", "method": "Input.GetStatus", "params": {"id": contact}}
    response = await relay_http.request(client, relay, "POST", "/rpc", json=frame, auth=relay_http.digest(relay))
    try:
        answer = msgspec.json.decode(response.content, type=_InputAnswer)
    except ValueError as error:
        raise RelayError(f"{type(error).__name__} at {relay.url}") from None
    return answer.result.state if answer.result else None
