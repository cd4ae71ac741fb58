"""Which operations are called of lab.aws, and by whose key: what a playbook needs to be allowed.

The forms of a request are those of botocore's service models, which are AWS's own: an operation is named by a header
(json), a parameter (query, ec2), the path (rpc-v2-cbor), or method, path and query string (rest-xml).
"""

from __future__ import annotations

import io
import json
import re
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple, TextIO
from urllib.parse import parse_qs

import botocore.session

_CREDENTIAL = re.compile(r"Credential=([^/]+)/[0-9]{8}/[^/]+/([^/]+)/aws4_request")
_RPC = re.compile(r"/service/[^/]+/operation/(\w+)$")
_FORM_BYTES = 1 << 20
_COPIES = ("CopyObject", "UploadPartCopy")
"""Operations of S3 that no playbook uses. They would be taken for those that send the content."""


class Call(NamedTuple):
    """An operation of a service (its name in signatures) that was called with an access key."""

    key: str
    service: str
    operation: str


class Recorder:
    """A WSGI application around another one, which writes each call once, as a line of JSON."""

    def __init__(self, application: Any, path: Path) -> None:
        self._application = application
        self._seen: set[Call] = set()
        self._stream: TextIO = path.open("a", encoding="utf-8")

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Any:
        call = called(environ)
        if call is not None and call not in self._seen:
            self._seen.add(call)
            self._stream.write(json.dumps(call._asdict()) + "\n")
            self._stream.flush()
        return self._application(environ, start_response)


def called(environ: dict[str, Any]) -> Call | None:
    """What a request calls; None when it isn't signed or names no operation. Its body can be read again afterwards."""
    signed = _CREDENTIAL.search(environ.get("HTTP_AUTHORIZATION", ""))
    if signed is None:
        return None
    key, service = signed.groups()
    query = parse_qs(environ.get("QUERY_STRING", ""), keep_blank_values=True)
    if target := environ.get("HTTP_X_AMZ_TARGET"):
        operation = target.rpartition(".")[2]
    elif found := _RPC.search(environ["PATH_INFO"]):
        operation = found[1]
    elif "Action" in query:
        operation = query["Action"][0]
    elif "Action" in (form := _form(environ)):
        operation = form["Action"][0]
    else:
        operation = _rest(service, environ["REQUEST_METHOD"], environ["PATH_INFO"], query)
    return Call(key, service, operation) if operation else None


def _form(environ: dict[str, Any]) -> Mapping[str, list[str]]:
    if not environ.get("CONTENT_TYPE", "").startswith("application/x-www-form-urlencoded"):
        return {}
    length = int(environ.get("CONTENT_LENGTH") or 0)
    if length > _FORM_BYTES:
        return {}
    body = environ["wsgi.input"].read(length)
    environ["wsgi.input"] = io.BytesIO(body)
    return parse_qs(body.decode(), keep_blank_values=True)


@cache
def _forms(service: str) -> list[tuple[str, str, re.Pattern[str], Mapping[str, list[str]]]]:
    """Operation, method, path and the parameters that must be there, of a service that speaks rest-xml."""
    session = botocore.session.Session()
    if service not in session.get_available_services():
        return []
    model = session.get_service_model(service)
    forms = []
    for name in model.operation_names:
        operation = model.operation_model(name)
        # One that is deprecated has the form of the one that came after it; copies have a header besides.
        if operation.deprecated or name in _COPIES:
            continue
        http = operation.http
        path, _, wanted = http.get("requestUri", "/").partition("?")
        pattern = re.sub(
            r"\\{(\w+)(\\\+)?\\}", lambda part: ".+" if part[2] else "[^/]+", re.escape(path.rstrip("/") or "/")
        )
        parameters = parse_qs(wanted, keep_blank_values=True)
        forms.append((name, http.get("method", "POST"), re.compile(pattern + "/?"), parameters))
    # The form that asks for most fits best: "/{Bucket}?policy" before "/{Bucket}".
    return sorted(forms, key=lambda form: (-len(form[3]), "+" in form[2].pattern))


def _rest(service: str, method: str, path: str, query: Mapping[str, list[str]]) -> str:
    for name, its_method, pattern, parameters in _forms(service):
        fits = all(key in query and value in ([""], query[key]) for key, value in parameters.items())
        if method == its_method and fits and pattern.fullmatch(path):
            return name
    return ""
