"""Devices with ESPHome: press the button that their own configuration turns into a pulse.

Source: esphome.io/web-api: POST /button/<id>/press, GET /binary_sensor/<id> (state ON or OFF); web_server's login is
digest or, by framework and release, basic. A pulse's length is the device's own; ``pulse_s`` must be as long.
"""

from urllib.parse import quote

import httpx
import msgspec
from msgspec import Struct

from parkmesh.gateway.drivers import relay_http
from parkmesh.gateway.drivers.types import RelayError
from parkmesh.gateway.gates import Question, Relay


class _State(Struct):
    state: str = ""


async def pulse(client: httpx.AsyncClient, relay: Relay) -> None:
    """Press the button; return when the device took it. Raises RelayError otherwise."""
    path = f"/button/{quote(str(relay.switch))}/press"
    login = relay_http.as_asked(relay)
    response = await relay_http.request(client, relay, "POST", path, auth=login, content=b"", moves=True)
    error = relay_http.refused(relay, response)
    if error:
        raise error


async def ask(client: httpx.AsyncClient, relay: Relay, question: Question) -> bool | None:
    """Ask a binary sensor; None where none is connected or it has no state."""
    contact = relay.input_of(question)
    if contact is None:
        return None
    path = f"/binary_sensor/{quote(str(contact))}"
    response = await relay_http.request(client, relay, "GET", path, auth=relay_http.as_asked(relay))
    error = relay_http.refused(relay, response)
    if error:
        raise error
    try:
        state = msgspec.json.decode(response.content, type=_State).state
    except (msgspec.DecodeError, UnicodeDecodeError):
        raise RelayError(f"{relay.url} didn't answer as ESPHome") from None
    return {"ON": True, "OFF": False}.get(state)
