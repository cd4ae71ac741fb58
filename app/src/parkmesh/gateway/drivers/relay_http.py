"""Requests to relays over HTTP, with the login that a device asks for, and with the relays' one rule: a request that
may have reached the relay is never repeated, as many barriers take a second pulse as 'stop'.

Short time-outs: a driver waits, and one dead relay must not keep the other gates.
"""

from collections.abc import Callable, Generator

import httpx

from parkmesh.gateway.drivers.types import RelayError
from parkmesh.gateway.gates import Relay

TIMEOUT = httpx.Timeout(2.0, connect=1.0)
_NOT_SENT = (httpx.ConnectError, httpx.ConnectTimeout)

_logins: dict[tuple[str, str, str, str], httpx.Auth] = {}
"""Logins are kept: a device's challenge serves the next request, too, which saves a round trip at the gate."""


class _AsAsked(httpx.Auth):
    """Digest or basic, whichever the device asks for. A request that is answered with 401 has moved nothing."""

    def __init__(self, user: str, password: str) -> None:
        self._digest, self._basic = httpx.DigestAuth(user, password), httpx.BasicAuth(user, password)
        self._wants_basic = False

    def auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response, None]:
        if self._wants_basic:
            yield from self._basic.auth_flow(request)
            return
        flow = self._digest.auth_flow(request)
        asking = next(flow)
        while True:
            response = yield asking
            try:
                asking = flow.send(response)
            except StopIteration:
                break
        if response.status_code == 401 and "basic" in response.headers.get("www-authenticate", "").lower():
            self._wants_basic = True
            yield from self._basic.auth_flow(request)


def _login(relay: Relay, name: str, kind: Callable[[str, str], httpx.Auth]) -> httpx.Auth | None:
    if relay.password is None:
        return None
    key = name, relay.url, relay.user, relay.password
    if key not in _logins:
        _logins[key] = kind(relay.user, relay.password)
    return _logins[key]


def digest(relay: Relay) -> httpx.Auth | None:
    """Return the login of a device that wants digest (RFC 7616: SHA-256, or MD5 of older ones), None without one."""
    return _login(relay, "digest", httpx.DigestAuth)


def basic(relay: Relay) -> httpx.Auth | None:
    """Return the login of a device that wants basic, None without one."""
    return _login(relay, "basic", httpx.BasicAuth)


def as_asked(relay: Relay) -> httpx.Auth | None:
    """Return the login of a device that wants digest or basic, None without one."""
    return _login(relay, "as asked", _AsAsked)


async def request(
    client: httpx.AsyncClient,
    relay: Relay,
    method: str,
    path: str,
    *,
    auth: httpx.Auth | None = None,
    moves: bool = False,
    json: object = None,
    content: bytes | None = None,
    content_type: str | None = None,
    params: dict[str, str] | None = None,
) -> httpx.Response:
    """Send one request; return its answer, whatever that is. Raises RelayError where there is none.

    ``moves``: the request moves the barrier, so that the error tells whether it may have.
    """
    headers = {"Content-Type": content_type} if content_type else {}
    url = f"{relay.url.rstrip('/')}{path}"

    async def send() -> httpx.Response:
        return await client.request(
            method, url, json=json, content=content, headers=headers, params=params, auth=auth, timeout=TIMEOUT
        )

    try:
        try:
            return await send()
        except _NOT_SENT:
            # Nothing was sent yet: one more try costs no double pulse.
            return await send()
    except httpx.HTTPError as error:
        sent = moves and not isinstance(error, _NOT_SENT)
        raise RelayError(f"{type(error).__name__} at {relay.url}", may_have_moved=sent) from None


def refused(relay: Relay, response: httpx.Response) -> RelayError | None:
    """Return what is wrong with an answer that is no success, None where it is one."""
    if response.status_code == 401:
        return RelayError(f"{relay.url} refuses user {relay.user!r} and the password")
    if not response.is_success:
        return RelayError(f"HTTP {response.status_code} from {relay.url}")
    return None
