"""Hikvision's barrier gate: the relay of an entrance camera, or a barrier of the brand.

Source: ISAPI, PUT /ISAPI/Parking/channels/<n>/barrierGate with <ctrlMode> open or close, GET …/barrierGateStatus (0 no
signal, 1 closed, 2 open); digest with MD5. ``switch`` and ``closed_input`` are the channel, from 1 on. A device that is
locked answers "OK" and moves nothing: only its signal tells.
"""

import httpx

from parkmesh.gateway.drivers import camera_xml, relay_http
from parkmesh.gateway.drivers.types import PoisonError, RelayError
from parkmesh.gateway.gates import Question, Relay

_BODY = '<?xml version="1.0" encoding="UTF-8"?><BarrierGate><ctrlMode>{}</ctrlMode></BarrierGate>'
_POSITIONS = {"1": True, "2": False}


async def pulse(client: httpx.AsyncClient, relay: Relay) -> None:
    """Open the barrier; return when the device took the order. Raises RelayError otherwise."""
    await _order(client, relay, "open")


async def close(client: httpx.AsyncClient, relay: Relay) -> None:
    """Close the barrier; return when the device took the order. Raises RelayError otherwise."""
    await _order(client, relay, "close")


async def ask(client: httpx.AsyncClient, relay: Relay, question: Question) -> bool | None:
    """Ask for the barrier's position; None where it has no signal, or for anything else."""
    channel = relay.input_of(question)
    if channel is None:
        return None
    path = f"/ISAPI/Parking/channels/{channel}/barrierGate/barrierGateStatus"
    response = await relay_http.request(client, relay, "GET", path, auth=relay_http.digest(relay))
    error = relay_http.refused(relay, response)
    if error:
        raise error
    return _POSITIONS.get(_text(relay, response, "barrierGateStatus"))


async def _order(client: httpx.AsyncClient, relay: Relay, mode: str) -> None:
    # The first request may be answered with a challenge, which moves nothing.
    response = await relay_http.request(
        client,
        relay,
        "PUT",
        f"/ISAPI/Parking/channels/{relay.switch}/barrierGate",
        auth=relay_http.digest(relay),
        content=_BODY.format(mode).encode(),
        content_type="application/xml",
        moves=True,
    )
    error = relay_http.refused(relay, response)
    if error:
        raise error
    code = _text(relay, response, "statusCode")
    if code != "1":
        raise RelayError(f"{relay.url} answered status {code or 'nothing'}: {_text(relay, response, 'statusString')}")


def _text(relay: Relay, response: httpx.Response, name: str) -> str:
    try:
        root = camera_xml.tree(response.content)
    except PoisonError:
        raise RelayError(f"{relay.url} didn't answer in XML", may_have_moved=True) from None
    found = (element.text or "" for element in root.iter() if camera_xml.local(element.tag) == name)
    return next(found, "").strip()[:100]
