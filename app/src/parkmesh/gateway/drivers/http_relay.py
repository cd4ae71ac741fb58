"""Any other device that opens a barrier by a request over HTTP: the configuration's ``calls`` say which.

Its login is digest or basic, as the device asks for it. A pulse's length is the device's own.
"""

import httpx
import msgspec

from parkmesh.gateway import mapping
from parkmesh.gateway.drivers import camera_values, relay_http
from parkmesh.gateway.drivers.types import RelayError
from parkmesh.gateway.gates import HttpCall, HttpCalls, Question, Relay


async def pulse(client: httpx.AsyncClient, relay: Relay) -> None:
    """Open the barrier; return when the device answers as expected. Raises RelayError otherwise."""
    await _send(client, relay, _calls(relay).open)


async def close(client: httpx.AsyncClient, relay: Relay) -> None:
    """Close the barrier; return when the device answers as expected. Raises RelayError otherwise."""
    call = _calls(relay).close
    if call is None:
        raise RelayError(f"{relay.url} has no call that closes")
    await _send(client, relay, call)


async def ask(client: httpx.AsyncClient, relay: Relay, question: Question) -> bool | None:
    """Ask the device; None where there is no call for it, or the answer means neither yes nor no."""
    calls = _calls(relay)
    asked = calls.closed if question == "closed" else calls.clear
    if asked is None:
        return None
    response = await relay_http.request(client, relay, "GET", asked.path, auth=relay_http.as_asked(relay))
    error = relay_http.refused(relay, response)
    if error:
        raise error
    if asked.field is None:
        told: str | None = response.text.strip()
    else:
        try:
            document = msgspec.json.decode(response.content)
        except (msgspec.DecodeError, UnicodeDecodeError):
            raise RelayError(f"{relay.url} didn't answer in JSON") from None
        found = mapping.one(document, document, asked.field)
        told = str(found).lower() if isinstance(found, bool) else camera_values.text(found)
    return True if told in asked.yes else False if told in asked.no else None


def _calls(relay: Relay) -> HttpCalls:
    assert relay.calls is not None  # checked with the configuration
    return relay.calls


async def _send(client: httpx.AsyncClient, relay: Relay, call: HttpCall) -> None:
    response = await relay_http.request(
        client,
        relay,
        call.method,
        call.path,
        auth=relay_http.as_asked(relay),
        content=call.body.encode() if call.body else None,
        content_type=call.content_type if call.body else None,
        moves=True,
    )
    error = relay_http.refused(relay, response)
    if error:
        raise error
    if call.expect is not None and call.expect not in response.text:
        raise RelayError(f"the answer of {relay.url} doesn't contain {call.expect!r}", may_have_moved=True)
