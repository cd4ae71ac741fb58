"""Relays with Tasmota: turn one on for a moment by its own timer, and say whether it confirmed.

Source: tasmota.github.io/docs/Commands: PulseTime (1 to 111 in tenths of a second, from 112 on in seconds plus 100),
Power, Status 10 (switches), and the login in the address. Outputs and switches count from 0 here, from 1 there.
"""

import httpx
import msgspec

from parkmesh.gateway.drivers import relay_http
from parkmesh.gateway.drivers.types import RelayError
from parkmesh.gateway.gates import Question, Relay


def pulse_time(seconds: float) -> int:
    """Return Tasmota's number for a time, at least 0.1 s. Where it counts whole seconds, it is rounded up."""
    tenths = max(1, round(seconds * 10))
    return tenths if tenths <= 111 else -(-tenths // 10) + 100


async def pulse(client: httpx.AsyncClient, relay: Relay) -> None:
    """Open the barrier; return when the relay confirmed the pulse. Raises RelayError otherwise.

    The time is set first, and nothing moves by it: a relay that doesn't take it would stay on.
    """
    number, wanted = int(relay.switch) + 1, pulse_time(relay.pulse_s)
    timed = await _command(client, relay, f"PulseTime{number} {wanted}")
    told = timed.get(f"PulseTime{number}")
    # Older releases answer with a text such as "20 (Active 0)".
    taken = told.get("Set") if isinstance(told, dict) else str(told).split(" ")[0]
    if str(taken) != str(wanted):
        raise RelayError(f"{relay.url} didn't take the pulse's time: {str(timed)[:100]}")
    answer = await _command(client, relay, f"Power{number} ON", moves=True)
    # With a single relay the number is left out.
    if (answer.get(f"POWER{number}") or answer.get("POWER")) != "ON":
        raise RelayError(f"{relay.url} didn't turn on: {str(answer)[:100]}")


async def ask(client: httpx.AsyncClient, relay: Relay, question: Question) -> bool | None:
    """Ask a switch; None where none is connected or the relay doesn't have it."""
    contact = relay.input_of(question)
    if contact is None:
        return None
    status = (await _command(client, relay, "Status 10")).get("StatusSNS")
    state = status.get(f"Switch{int(contact) + 1}") if isinstance(status, dict) else None
    return {"ON": True, "OFF": False}.get(str(state))


async def _command(client: httpx.AsyncClient, relay: Relay, text: str, *, moves: bool = False) -> dict[str, object]:
    login = {"user": relay.user, "password": relay.password} if relay.password is not None else {}
    response = await relay_http.request(client, relay, "GET", "/cm", params={**login, "cmnd": text}, moves=moves)
    error = relay_http.refused(relay, response)
    if error:
        raise error
    try:
        answer: dict[str, object] = msgspec.json.decode(response.content, type=dict[str, object])
    except (msgspec.DecodeError, UnicodeDecodeError):
        raise RelayError(f"{relay.url} didn't answer as Tasmota", may_have_moved=moves) from None
    if "WARNING" in answer:  # answered with 200 or 401, by release
        raise RelayError(f"{relay.url}: {str(answer['WARNING'])[:100]}")
    return answer
