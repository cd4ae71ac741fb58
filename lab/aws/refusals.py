"""An error that lab.aws answers itself, in the form of the service's protocol, as botocore's service models have it."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from http import HTTPStatus
from typing import Any
from xml.sax.saxutils import escape


def refuse(
    environ: Mapping[str, Any], start_response: Any, service: str, status: int, code: str, message: str
) -> Iterable[bytes]:
    """Answer a WSGI request of a service (its name in signatures) with an error."""
    headers = [("x-amzn-RequestId", "lab")]
    if "/service/" in environ["PATH_INFO"]:
        body = b"\xa2" + b"".join(map(_cbor_text, ("__type", code, "message", message)))
        headers += [("Content-Type", "application/cbor"), ("smithy-protocol", "rpc-v2-cbor")]
    elif environ.get("HTTP_X_AMZ_TARGET"):
        body = json.dumps({"__type": code, "message": message}).encode()
        headers += [("Content-Type", "application/x-amz-json-1.0")]
    else:
        error = f"<Code>{escape(code)}</Code><Message>{escape(message)}</Message>"
        forms = {
            "ec2": f"<Response><Errors><Error>{error}</Error></Errors><RequestID>lab</RequestID></Response>",
            "s3": f"<Error>{error}<RequestId>lab</RequestId></Error>",
        }
        others = f"<ErrorResponse><Error><Type>Sender</Type>{error}</Error><RequestId>lab</RequestId></ErrorResponse>"
        body = forms.get(service, others).encode()
        headers += [("Content-Type", "text/xml")]
    start_response(f"{status} {HTTPStatus(status).phrase}", [*headers, ("Content-Length", str(len(body)))])
    # The connection is used again: what the caller sent must be read.
    environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
    return [body]


def _cbor_text(text: str) -> bytes:
    """RFC 8949, 3.1: a text, major type 3, with its length in the first byte, in one more or in two more."""
    content = text.encode()
    if len(content) < 24:
        return bytes([0x60 + len(content)]) + content
    if len(content) < 1 << 8:
        return bytes([0x78, len(content)]) + content
    return b"\x79" + len(content).to_bytes(2) + content
