"""Where scanners and keypads post visitors' codes: the part of the listener that answers with the decision.

Neither codes nor PINs are logged or kept, not even those that can't be read.
"""

import asyncio
import hmac
from collections.abc import Sequence

from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from parkmesh.domain.access import Reason
from parkmesh.gateway.config import Reader
from parkmesh.gateway.decider import Decider
from parkmesh.gateway.drivers import code_http
from parkmesh.gateway.drivers.types import PoisonError
from parkmesh.gateway.listener_login import Door
from parkmesh.gateway.spool import SpoolError
from parkmesh.gateway.strays import Kind, Strays

_METHODS = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"]
_ANSWER_S = 30.0
_AT_ONCE = 8
_SAID = {
    Reason.BY_CODE: "The pass is valid.",
    Reason.UNKNOWN_CODE: "This is no code of a pass here.",
    Reason.CODES_LOCKED: "Too many wrong PINs. Wait, or use the QR code.",
    Reason.CODE_USED: "The pass is inside already.",
    Reason.REVOKED: "The pass was taken back, or has a newer code.",
    Reason.NOT_YET_VALID: "The pass isn't valid yet.",
    Reason.EXPIRED: "The pass is over.",
    Reason.STALE: "It took too long. Try again.",
}


def _said(status: int, detail: str, **more: object) -> Response:
    headers = {"Retry-After": str(more["retry_after_s"])} if "retry_after_s" in more else {}
    return JSONResponse({"opened": False, "detail": detail, **more}, status, headers)


async def _body(request: Request) -> bytes | None:
    """Return the message, None where it is longer than a code can be."""
    body = b""
    async for chunk in request.stream():
        body += chunk
        if len(body) > code_http.MAX_BODY:
            return None
    return body


def routes(readers: Sequence[Reader], decider: Decider, strays: Strays, door: Door) -> list[Route]:
    """Return the addresses of the readers of a configuration."""
    known = {reader.name: reader for reader in readers if reader.device is None}
    slots = asyncio.Semaphore(_AT_ONCE)

    def note(kind: Kind, request: Request) -> None:
        strays.note(kind, request.client.host if request.client else "-", request.method, request.url.path)

    async def present(request: Request) -> Response:
        reader = known.get(request.path_params["reader"])
        given = request.path_params.get("secret", "")
        if reader is None or not hmac.compare_digest((reader.secret_path or "").encode(), given.encode()):
            note("unknown_reader", request)
            return _said(404, "There is no such reader, or the secret part of its address is wrong.")
        refusal = door.refusal(request, f"readers/{reader.name}", reader.login, tls=reader.tls)
        if refusal is not None:
            return refusal
        if request.method in ("GET", "HEAD"):
            note("test", request)
            return JSONResponse({"reader": reader.name, "detail": "The address is right. The reader must use POST."})
        if request.method != "POST":
            note("wrong_method", request)
            return _said(405, "Set the method to POST.")
        if slots.locked():
            return _said(503, "Too many codes at once. Try again.", retry_after_s=1)
        async with slots:
            try:
                async with asyncio.timeout(_ANSWER_S):
                    body = await _body(request)
                    if body is None:
                        return _said(413, f"The message is larger than {code_http.MAX_BODY} bytes.")
                    code = code_http.code(body, request.headers.get("Content-Type", ""), reader.field)
                    answer = await decider.present(reader, code)
            except PoisonError as error:
                return _said(400, str(error))
            except TimeoutError:
                return _said(503, "The gate doesn't answer.", retry_after_s=1)
            except ClientDisconnect:
                return _said(400, "The message was cut off.")
            except SpoolError:
                return _said(503, "The decision can't be stored now.", retry_after_s=5)
        reason = answer.decision.reason
        if reason is Reason.CODES_LOCKED:
            return _said(429, _SAID[reason], reason=reason, retry_after_s=-(-answer.locked_ms // 1000))
        if not answer.decision.granted:
            return _said(403, _SAID[reason], reason=reason)
        if not answer.opened:
            return _said(502, "The pass is valid, but the barrier doesn't answer. Try again.", reason=reason)
        return JSONResponse({"opened": True, "detail": _SAID[reason], "reason": reason})

    return [
        Route(address + end, present, methods=_METHODS)
        for address in ("/readers/{reader}/codes", "/readers/{reader}/{secret}/codes")
        for end in ("", "/")
    ]
