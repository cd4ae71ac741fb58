"""HTTP for ZeroTier's control planes: JSON in and out, retries with back-off, errors that say what to do.

No message and no representation made here holds the token.
"""

from __future__ import annotations

import email.utils
import json
import random
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final, TypeVar

import requests
import requests.adapters

MAXIMUM_ANSWER_BYTES: Final = 512 * 1024 * 1024
BACKOFF_BASE_SECONDS: Final = 0.25
BACKOFF_CAP_SECONDS: Final = 8.0
# A running host accepts a connection sooner than this, even if it needs longer to answer the request.
LONGEST_CONNECT_SECONDS: Final = 10.0
# Longest wait that a server may ask for before the request counts as failed.
LONGEST_ASKED_WAIT_SECONDS: Final = 60.0

_Item = TypeVar("_Item")
_Result = TypeVar("_Result")


class ApiError(Exception):
    """A request that failed; the message says which one, why, and what to look at."""

    def __init__(self, message: str, *, status: int | None = None) -> None:
        super().__init__(message)
        self.status = status


class Unauthorized(ApiError):
    """401: the token isn't accepted."""


class Forbidden(ApiError):
    """403: the token may not do this."""


class NotFound(ApiError):
    """404."""


class Conflict(ApiError):
    """409."""


class RateLimited(ApiError):
    """429, after the retries."""


class ServerFailure(ApiError):
    """5xx, after the retries."""


class Unreachable(ApiError):
    """No connection, no answer in time, or an answer that broke off."""


class NotJson(ApiError):
    """An answer that isn't JSON: a proxy's page, a truncated or an empty body."""


_STATUS_ERRORS: Final[Mapping[int, type[ApiError]]] = {
    401: Unauthorized,
    403: Forbidden,
    404: NotFound,
    409: Conflict,
    429: RateLimited,
}
_RETRIED_STATUSES: Final = frozenset({429, 500, 502, 503, 504})


class TokenError(ValueError):
    """A token that can't be one; the message doesn't show it."""


def clean_token(token: object) -> str:
    """The token without the white space around it (a token file ends with a newline).

    Raises TokenError when it is empty or holds what no token holds.
    """
    if not isinstance(token, str):
        raise TokenError(f"the token is a text, not a {type(token).__name__}")
    cleaned = str(token).strip()
    if not cleaned:
        raise TokenError("the token is empty")
    if not cleaned.isascii() or not cleaned.isprintable() or " " in cleaned:
        raise TokenError(
            "the token holds white space, line breaks or characters that no token has: is it the right one?"
        )
    return cleaned


class Backoff:
    """How long to wait before the next attempt: full jitter, unless the server says how long."""

    def __init__(
        self,
        *,
        clock: Callable[[], float] = time.time,
        uniform: Callable[[float, float], float] = random.uniform,
    ) -> None:
        self._clock = clock
        self._uniform = uniform

    def seconds(self, attempt: int, headers: Mapping[str, str]) -> float | None:
        """Seconds before the attempt after this one (0 is the first); None when the server asks for too much."""
        asked = self._asked(headers)
        if asked is not None:
            # A little spread keeps the clients that got the same answer from coming back at once.
            return None if asked > LONGEST_ASKED_WAIT_SECONDS else asked + self._uniform(0.0, 0.25)
        return self._uniform(0.0, min(BACKOFF_CAP_SECONDS, BACKOFF_BASE_SECONDS * 2**attempt))

    def _asked(self, headers: Mapping[str, str]) -> float | None:
        after = headers.get("Retry-After")
        if after is not None:
            return float(after) if after.strip().isdigit() else self._until(after)
        reset = headers.get("X-Ratelimit-Reset")
        if reset is not None and headers.get("X-Ratelimit-Remaining", "0").strip() == "0":
            return self._until(reset)
        return None

    def _until(self, http_date: str) -> float | None:
        try:
            moment = email.utils.parsedate_to_datetime(http_date)
        except (TypeError, ValueError):
            return None
        return max(0.0, moment.timestamp() - self._clock())


class Transport:
    """Requests to one base URL.

    ``fresh_connections`` opens a connection for every request and leaves the environment's proxies alone: a self-hosted
    controller takes 27 ms for a request on a kept connection and about 1 ms on a new one. Times are in seconds;
    ``timeout`` bounds the connection (up to 10 s), each wait for data and, five times over, the whole answer.
    """

    def __init__(
        self,
        base_url: str,
        headers: Mapping[str, str],
        token: str,
        *,
        timeout: float = 30.0,
        retries: int = 4,
        verify: bool | str = True,
        fresh_connections: bool = False,
        parallel: int = 8,
        backoff: Backoff | None = None,
        sleep: Callable[[float], None] = time.sleep,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self.base_url = base_url.rstrip("/")
        self._headers = dict(headers)
        self._token = token
        self._timeout = timeout
        self._connect_timeout = min(timeout, LONGEST_CONNECT_SECONDS)
        self._retries = retries
        self._verify = verify
        self._fresh = fresh_connections
        self._parallel = parallel
        self._backoff = backoff or Backoff()
        self._sleep = sleep
        self._monotonic = monotonic
        self._local = threading.local()

    def __repr__(self) -> str:
        return f"<Transport {self.base_url}>"

    def _session(self) -> requests.Session:
        session: requests.Session | None = getattr(self._local, "session", None)
        if session is None:
            session = requests.Session()
            session.headers.update({"Accept": "application/json", "User-Agent": "parkmesh-ansible", **self._headers})
            if self._fresh:
                session.headers["Connection"] = "close"
                session.trust_env = False
            session.auth = _keep_headers
            self._local.session = session
        return session

    def redact(self, text: str) -> str:
        """The text without the token, should a server repeat it."""
        return text.replace(self._token, "(token)") if self._token else text

    def request(self, method: str, path: str, body: object = None, *, repeatable: bool = True) -> Any:
        """Send one request and return the decoded JSON (None for an empty answer to a write).

        A request that isn't ``repeatable`` is only repeated when the server can't have acted on it.
        """
        what = f"{method} {self.base_url}{path}"
        attempt = 0
        while True:
            try:
                return self._attempt(method, path, what, body)
            except _Retry as retry:
                wait = self._backoff.seconds(attempt, retry.headers)
                if attempt >= self._retries or wait is None or not (repeatable or retry.not_acted_on):
                    tries = "" if attempt == 0 else f" (tried {attempt + 1} times)"
                    raise type(retry.error)(f"{retry.error}{tries}", status=retry.error.status) from retry.__cause__
                self._sleep(wait)
                attempt += 1

    def _attempt(self, method: str, path: str, what: str, body: object) -> Any:
        session = self._session()
        data = None if body is None else json.dumps(body).encode()
        try:
            with session.request(
                method,
                self.base_url + path,
                data=data,
                headers={} if data is None else {"Content-Type": "application/json"},
                timeout=(self._connect_timeout, self._timeout),
                verify=self._verify,
                allow_redirects=False,
                stream=True,
            ) as response:
                content = self._content(response, what)
        except requests.exceptions.SSLError as error:
            raise Unreachable(f"{what}: the TLS certificate isn't trusted: {self.redact(_cause(error))}") from None
        except requests.exceptions.ConnectTimeout:
            raise _Retry(
                Unreachable(f"{what}: no connection within {self._connect_timeout:g} s"), not_acted_on=True
            ) from None
        except requests.exceptions.Timeout:
            raise _Retry(Unreachable(f"{what}: no answer within {self._timeout:g} s")) from None
        except requests.exceptions.ConnectionError as error:
            reason = self.redact(_cause(error))
            if "timed out" in reason.lower():
                raise _Retry(Unreachable(f"{what}: the answer stopped for {self._timeout:g} s")) from None
            refused = "refused" in reason.lower() or "resolve" in reason.lower() or "unreachable" in reason.lower()
            raise _Retry(Unreachable(f"{what}: {reason}"), not_acted_on=refused) from None
        except (requests.exceptions.ChunkedEncodingError, requests.exceptions.ContentDecodingError) as error:
            raise _Retry(Unreachable(f"{what}: the answer broke off: {self.redact(_cause(error))}")) from None
        except requests.exceptions.RequestException as error:
            raise ApiError(f"{what}: {self.redact(_cause(error))}") from None
        finally:
            if self._fresh:
                session.close()
        return self._decode(method, what, response, content)

    def _content(self, response: requests.Response, what: str) -> bytes:
        deadline = self._monotonic() + 5 * self._timeout
        parts: list[bytes] = []
        size = 0
        for part in response.iter_content(1 << 18):
            parts.append(part)
            size += len(part)
            if size > MAXIMUM_ANSWER_BYTES:
                raise ApiError(f"{what}: the answer is larger than {MAXIMUM_ANSWER_BYTES} bytes")
            if self._monotonic() > deadline:
                raise _Retry(Unreachable(f"{what}: the whole answer took longer than {5 * self._timeout:g} s"))
        return b"".join(parts)

    def _decode(self, method: str, what: str, response: requests.Response, content: bytes) -> Any:
        status = response.status_code
        if status >= 400:
            error = _STATUS_ERRORS.get(status, ServerFailure if status >= 500 else ApiError)(
                self.redact(f"{what}: {status} {_explanation(status, content)}"), status=status
            )
            if status in _RETRIED_STATUSES:
                raise _Retry(error, headers=response.headers, not_acted_on=status in (429, 503))
            raise error
        if status >= 300:
            raise ApiError(
                f"{what}: answered with a redirect ({status}); the token isn't sent elsewhere, give the right URL",
                status=status,
            )
        if not content.strip():
            if method != "GET":
                return None
            raise NotJson(f"{what}: the answer ({status}) is empty, JSON was expected", status=status)
        try:
            return json.loads(content)
        except (ValueError, RecursionError):
            raise NotJson(f"{what}: {_not_json(content)}", status=status) from None

    def each(self, function: Callable[[_Item], _Result], items: Iterable[_Item]) -> list[_Result]:
        """Apply a function that makes requests to all items in parallel; results are in the items' order."""
        work = list(items)
        if len(work) < 2 or self._parallel < 2:
            return [function(item) for item in work]
        with ThreadPoolExecutor(min(self._parallel, len(work))) as pool:
            futures = [pool.submit(function, item) for item in work]
            try:
                return [future.result() for future in futures]
            except BaseException:
                for future in futures:
                    future.cancel()
                raise


class _Retry(Exception):
    """An attempt that failed in a way that may pass."""

    def __init__(
        self, error: ApiError, *, headers: Mapping[str, str] | None = None, not_acted_on: bool = False
    ) -> None:
        super().__init__(str(error))
        self.error = error
        self.headers: Mapping[str, str] = headers or {}
        self.not_acted_on = not_acted_on


def _keep_headers(request: requests.PreparedRequest) -> requests.PreparedRequest:
    """An authentication that changes nothing: without one, a netrc file would replace the token's header."""
    return request


def _cause(error: BaseException) -> str:
    """The innermost reason of an error, in one line."""
    seen: set[int] = set()
    while id(error) not in seen:
        seen.add(id(error))
        inner = getattr(error, "reason", None) or error.__cause__ or error.__context__
        nested = next((arg for arg in error.args if isinstance(arg, BaseException)), None)
        following = inner if isinstance(inner, BaseException) else nested
        if following is None:
            break
        error = following
    text = " ".join(str(error).split()) or type(error).__name__
    return text[:300]


_EXPLANATIONS: Final[Mapping[int, str]] = {
    401: "the token isn't accepted: is it this control plane's (a controller's is in authtoken.secret), and is this "
    "host admitted (allowManagementFrom)?",
    403: "the token may not do this: it lacks the role or the plan",
    404: "there is no such thing",
    409: "it conflicts with something else",
    429: "too many requests",
}


def _explanation(status: int, content: bytes) -> str:
    said = _said(content)
    explanation = _EXPLANATIONS.get(status, "the server failed" if status >= 500 else "the request was refused")
    return f"{explanation}{f' (the server said: {said})' if said else ''}"


def _said(content: bytes) -> str:
    """What an error's body says, in one short line."""
    text = content[:4000].decode("utf-8", "replace").strip()
    if not text or text == "{}":
        return ""
    if text.startswith("<"):
        return "an HTML page"
    try:
        data = json.loads(text)
    except (ValueError, RecursionError):
        data = None
    if isinstance(data, dict):
        for name in ("message", "description", "error", "detail"):
            if isinstance(data.get(name), str):
                details = data.get("details")
                more = f" {json.dumps(details)}" if isinstance(details, list) and details else ""
                text = data[name] + more
                break
    return " ".join(text.split())[:300]


def _not_json(content: bytes) -> str:
    start = content[:200].decode("utf-8", "replace").lstrip()
    if start.startswith("<"):
        return "the answer is an HTML page, not JSON: is a proxy or another service in between?"
    return "the answer isn't valid JSON: it broke off or comes from something else"
