"""Simulated relays of other makers, each with the part of its interface over HTTP that moves and tells of a barrier.

Sources are those of the drivers of the same names in ``gateway.drivers``. The barrier's input is the first one.
"""

import re
from collections.abc import Callable, Mapping

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from parkmesh.gateway.gates import RelayKind
from parkmesh.simulator import relay
from parkmesh.simulator.login import Login, Scheme
from parkmesh.simulator.relay import Switch

_COMMAND = re.compile(r"(PulseTime|Power)1 (\w+)|(Status) 10", re.IGNORECASE)
OWN_PULSE_S = 0.5
"""A pulse of the device's own making: of an ESPHome button, and of a device that is opened by a request."""


def shelly_gen1(switch: Switch) -> list[Route]:
    """Shelly's first generation."""

    async def turn(request: Request) -> Response:
        turn, timer = request.query_params.get("turn"), float(request.query_params.get("timer", 0))
        if turn:
            switch.set(turn == "on", timer or None)
        on = switch.status()["output"]
        return JSONResponse({"ison": on, "has_timer": bool(timer), "timer_remaining": int(timer), "source": "http"})

    async def status(_: Request) -> Response:
        return JSONResponse({"inputs": [{"input": int(switch.closed()), "event": "", "event_cnt": 0}]})

    return [Route("/relay/0", turn), Route("/status", status)]


def tasmota(switch: Switch) -> list[Route]:
    """Tasmota with one relay. A login, where there is one, is checked in the address."""
    pulse_time = 0

    async def command(request: Request) -> Response:
        nonlocal pulse_time
        found = _COMMAND.fullmatch(request.query_params.get("cmnd", ""))
        if found is None:
            return JSONResponse({"Command": "Unknown"})
        name = (found[1] or found[3]).lower()
        if name == "pulsetime":
            pulse_time = int(found[2])
            return JSONResponse({"PulseTime1": {"Set": pulse_time, "Remaining": 0}})
        if name == "power":
            seconds = pulse_time / 10 if pulse_time <= 111 else pulse_time - 100
            switch.set(found[2].lower() == "on", seconds or None)
            return JSONResponse({"POWER": "ON" if switch.status()["output"] else "OFF"})
        return JSONResponse({"StatusSNS": {"Switch1": "ON" if switch.closed() else "OFF"}})

    return [Route("/cm", command)]


def esphome(switch: Switch) -> list[Route]:
    """ESPHome with a button "gate" and a binary sensor "closed"."""

    async def press(_: Request) -> Response:
        switch.set(True, OWN_PULSE_S)
        return Response()

    async def state(_: Request) -> Response:
        state = "ON" if switch.closed() else "OFF"
        return JSONResponse({"id": "binary_sensor-closed", "value": switch.closed(), "state": state})

    return [Route("/button/gate/press", press, methods=["POST"]), Route("/binary_sensor/closed", state)]


def hikvision_gate(switch: Switch) -> list[Route]:
    """An entrance camera of Hikvision with a barrier at its channel 1."""
    namespace = 'xmlns="http://www.hikvision.com/ver20/XMLSchema"'

    async def order(request: Request) -> Response:
        mode = re.search(rb"<ctrlMode>(\w+)</ctrlMode>", await request.body())
        known = mode is not None and mode[1] in (b"open", b"close")
        if known:
            switch.set(mode is not None and mode[1] == b"open", 1.0)
        code, text = (1, "OK") if known else (6, "Invalid XML Content")
        answer = f"<ResponseStatus {namespace}><statusCode>{code}</statusCode><statusString>{text}</statusString>"
        return Response(f"{answer}</ResponseStatus>", 200 if known else 400, media_type="application/xml")

    async def status(_: Request) -> Response:
        position = 1 if switch.closed() else 2
        answer = f"<BarrierGate {namespace}><barrierGateStatus>{position}</barrierGateStatus></BarrierGate>"
        return Response(answer, media_type="application/xml")

    path = "/ISAPI/Parking/channels/1/barrierGate"
    return [Route(path, order, methods=["PUT"]), Route(f"{path}/barrierGateStatus", status)]


def http(switch: Switch) -> list[Route]:
    """A device without a driver of its own: ``GET /open`` answers ``opened``, ``GET /state`` has ``closed`` in JSON."""

    async def opens(_: Request) -> Response:
        switch.set(True, OWN_PULSE_S)
        return Response("opened")

    async def state(_: Request) -> Response:
        return JSONResponse({"closed": switch.closed()})

    return [Route("/open", opens), Route("/state", state)]


KINDS: Mapping[RelayKind, tuple[Callable[[Switch], list[Route]], Scheme | None]] = {
    "esphome": (esphome, "MD5"),
    "hikvision_gate": (hikvision_gate, "MD5"),
    "http": (http, "SHA-256"),
    "shelly_gen1": (shelly_gen1, "basic"),
    "shelly_gen2": (relay.routes, "SHA-256"),
    "tasmota": (tasmota, None),
}
"""What a kind answers to, and how it logs in; Tasmota has its password in the address."""


def application(kind: RelayKind, switch: Switch, password: str | None = None) -> Starlette | Login:
    """Build a device's HTTP interface, with the user "admin" where there is a password."""
    routes, scheme = KINDS[kind]
    app = Starlette(routes=[*routes(switch), relay.pulses_route(switch)])
    return Login(app, scheme, "admin", password) if password is not None and scheme is not None else app
