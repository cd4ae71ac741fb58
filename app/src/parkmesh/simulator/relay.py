"""A simulated Shelly Gen2 relay: its RPC over HTTP for one switch, with the timer that turns it off again.

``GET /simulator/pulses`` (not Shelly's) tells how often the switch was turned on: what a barrier would have seen.
"""

import time
from collections.abc import Callable
from typing import Any

from msgspec import Struct
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

OPEN_S = 6.0
"""Seconds for which a simulated barrier is open after a pulse."""


class RpcError(Exception):
    """An error as Shelly's RPC answers it."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code, self.message = code, message


class Pulses(Struct):
    """``last_ago_s``: seconds since the latest pulse, None before the first."""

    relay: str
    pulses: int
    output: bool
    last_ago_s: float | None


class Switch:
    """The switch itself: on or off, and until when. ``clock`` gives seconds that only rise."""

    def __init__(self, name: str, clock: Callable[[], float] = time.monotonic) -> None:
        self.name, self._clock = name, clock
        self._output, self._timer_from, self._timer_s = False, 0.0, 0.0
        self._pulses = 0
        self._last: float | None = None

    def _settle(self) -> None:
        if self._timer_s and self._clock() >= self._timer_from + self._timer_s:
            self._output, self._timer_s = not self._output, 0.0

    def set(self, on: bool, toggle_after_s: float | None) -> bool:
        """Turn it on or off, for ``toggle_after_s`` if given; return what it was before."""
        self._settle()
        was_on, self._output = self._output, on
        self._timer_from, self._timer_s = self._clock(), toggle_after_s or 0.0
        if on:
            self._pulses += 1
            self._last = self._clock()
        return was_on

    def closed(self) -> bool:
        """Tell whether the barrier is closed: it stays open for a moment after each pulse."""
        return self._last is None or self._clock() - self._last >= OPEN_S

    def status(self) -> dict[str, Any]:
        self._settle()
        status: dict[str, Any] = {"id": 0, "source": "HTTP_in", "output": self._output, "temperature": {"tC": 40.1}}
        if self._timer_s:
            elapsed = self._clock() - self._timer_from
            status |= {"timer_started_at": round(time.time() - elapsed, 2), "timer_duration": self._timer_s}
        return status

    def pulses(self) -> Pulses:
        self._settle()
        ago = None if self._last is None else round(self._clock() - self._last, 3)
        return Pulses(self.name, self._pulses, self._output, ago)

    # RPC

    def call(self, method: str, params: dict[str, Any]) -> dict[str, Any]:
        """Answer one RPC; raise RpcError as the device does."""
        match method:
            case "Shelly.GetDeviceInfo":
                return {
                    "name": self.name,
                    "id": f"shellyplus1-{self.name}",
                    "mac": "A8032ABE54DC",
                    "model": "SNSW-001X16EU",
                    "gen": 2,
                    "fw_id": "20240625-122608/1.3.3-gbdfd9b3",
                    "ver": "1.3.3",
                    "app": "Plus1",
                    "auth_en": False,
                    "auth_domain": None,
                }
            case "Switch.GetStatus":
                self._check_id(params)
                return self.status()
            case "Switch.Set":
                self._check_id(params)
                on, toggle_after = params.get("on"), params.get("toggle_after")
                if not isinstance(on, bool):
                    raise RpcError(-103, "Missing or bad argument 'on'!")
                numeric = isinstance(toggle_after, int | float) and not isinstance(toggle_after, bool)
                if toggle_after is not None and not (numeric and toggle_after > 0):
                    raise RpcError(-103, f"Argument 'toggle_after', value {toggle_after} is invalid!")
                return {"was_on": self.set(on, toggle_after)}
            case "Input.GetStatus":
                self._check_id(params)
                return {"id": 0, "state": self.closed()}
            case _:
                raise RpcError(404, f"No handler for {method}")

    @staticmethod
    def _check_id(params: dict[str, Any]) -> None:
        if "id" not in params:
            raise RpcError(-103, "Missing required argument 'id'!")
        if params["id"] != 0 or isinstance(params["id"], bool):
            raise RpcError(-105, f"Argument 'id', value {params['id']} not found!")


def _query(request: Request) -> dict[str, Any]:
    words: dict[str, Any] = {"true": True, "false": False}
    params: dict[str, Any] = {}
    for key, value in request.query_params.items():
        try:
            params[key] = words[value] if value in words else float(value) if "." in value else int(value)
        except ValueError:
            params[key] = value
    return params


def pulses_route(switch: Switch) -> Route:
    """Build what no device has: how often the switch was turned on."""

    async def pulses(_: Request) -> Response:
        seen = switch.pulses()
        return JSONResponse(
            {"relay": seen.relay, "pulses": seen.pulses, "output": seen.output, "last_ago_s": seen.last_ago_s}
        )

    return Route("/simulator/pulses", pulses)


def routes(switch: Switch) -> list[Route]:
    """Build the device's HTTP interface."""

    async def frame(request: Request) -> Response:
        try:
            call = await request.json()
        except ValueError:
            call = None
        if not isinstance(call, dict) or not isinstance(call.get("method"), str):
            return JSONResponse({"code": -103, "message": "Invalid RPC frame"}, 400)
        answer: dict[str, Any] = {"id": call.get("id"), "src": f"shellyplus1-{switch.name}"}
        if "src" in call:
            answer["dst"] = call["src"]
        params = call.get("params")
        try:
            answer["result"] = switch.call(call["method"], params if isinstance(params, dict) else {})
        except RpcError as error:
            answer["error"] = {"code": error.code, "message": error.message}
        return JSONResponse(answer)

    async def direct(request: Request) -> Response:
        params = _query(request)
        if request.method == "POST":
            try:
                body = await request.json()
            except ValueError:
                return JSONResponse({"code": -103, "message": "Invalid JSON"}, 400)
            params = body if isinstance(body, dict) else {}
        try:
            return JSONResponse(switch.call(request.path_params["method"], params))
        except RpcError as error:
            status = 404 if error.code == 404 else 500
            return JSONResponse({"code": error.code, "message": error.message}, status)

    return [Route("/rpc", frame, methods=["POST"]), Route("/rpc/{method}", direct, methods=["GET", "POST"])]


def application(switch: Switch) -> Starlette:
    """Build the device, with what tells how often it was turned on."""
    return Starlette(routes=[*routes(switch), pulses_route(switch)])
