"""Shelly's relays of the first generation: turn one on for a moment, and say whether it confirmed.

Source: shelly-api-docs.shelly.cloud, gen1: /relay/<n>?turn=on&timer=<s>, /status (inputs), basic authentication.
"""

import httpx
import msgspec
from msgspec import Struct

from parkmesh.gateway.drivers import relay_http
from parkmesh.gateway.drivers.types import RelayError
from parkmesh.gateway.gates import Question, Relay


class _RelayAnswer(Struct):
    ison: bool
    has_timer: bool = False


class _Input(Struct):
    input: int


class _Status(Struct):
    inputs: list[_Input] = []


async def pulse(client: httpx.AsyncClient, relay: Relay) -> None:
    """Open the barrier; return when the relay is on with its timer running. Raises RelayError otherwise."""
    answer = await _turn(client, relay, {"turn": "on", "timer": f"{relay.pulse_s:g}"})
    if not answer.ison or not answer.has_timer:
        raise RelayError(f"{relay.url} didn't turn on with its timer", may_have_moved=answer.ison)


async def hold(client: httpx.AsyncClient, relay: Relay, seconds: float) -> None:
    """Keep the switch on for so long from now; 0 turns it off. Raises RelayError where the relay doesn't confirm."""
    answer = await _turn(client, relay, {"turn": "on", "timer": f"{seconds:g}"} if seconds else {"turn": "off"})
    if answer.ison is not bool(seconds):
        raise RelayError(f"{relay.url} is {'on' if answer.ison else 'off'}, against what it was told")


async def _turn(client: httpx.AsyncClient, relay: Relay, params: dict[str, str]) -> _RelayAnswer:
    auth = relay_http.basic(relay)
    response = await relay_http.request(
        client, relay, "GET", f"/relay/{relay.switch}", params=params, auth=auth, moves=True
    )
    error = relay_http.refused(relay, response)
    if error:
        raise error
    try:
        return msgspec.json.decode(response.content, type=_RelayAnswer)
    except (msgspec.DecodeError, UnicodeDecodeError):
        raise RelayError(f"{relay.url} didn't answer as a Shelly", may_have_moved=True) from None


async def ask(client: httpx.AsyncClient, relay: Relay, question: Question) -> bool | None:
    """Ask an input; None where none is connected or the relay doesn't have it."""
    contact = relay.input_of(question)
    if contact is None:
        return None
    response = await relay_http.request(client, relay, "GET", "/status", auth=relay_http.basic(relay))
    error = relay_http.refused(relay, response)
    if error:
        raise error
    try:
        inputs = msgspec.json.decode(response.content, type=_Status).inputs
    except (msgspec.DecodeError, UnicodeDecodeError):
        raise RelayError(f"{relay.url} didn't answer as a Shelly") from None
    return inputs[int(contact)].input == 1 if int(contact) < len(inputs) else None
