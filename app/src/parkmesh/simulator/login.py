"""The login of a simulated device: digest as RFC 7616 has it (Shelly Gen2: SHA-256, Hikvision: MD5), or basic."""

import base64
import hashlib
import hmac
import re
import secrets
from typing import Literal

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

Scheme = Literal["SHA-256", "MD5", "basic"]
_HASHES = {"SHA-256": hashlib.sha256, "MD5": hashlib.md5}
_FIELD = re.compile(r'(\w+)=(?:"([^"]*)"|([^\s,]+))')
OURS = "/simulator/"
"""Paths that aren't the device's own, and so have no login."""


class Login:
    """Lets requests to ``app`` through that log in. ``uses`` is how often a challenge serves."""

    def __init__(self, app: ASGIApp, scheme: Scheme, user: str, password: str, *, uses: int = 1000) -> None:
        self._app, self._scheme, self._user, self._password, self._uses = app, scheme, user, password, uses
        self._nonces: dict[str, int] = {}
        self.refused = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request = Request(scope)
        uri = scope["raw_path"].decode() + (f"?{scope['query_string'].decode()}" if scope["query_string"] else "")
        if scope["path"].startswith(OURS) or self._knows(request.headers.get("authorization", ""), request.method, uri):
            await self._app(scope, receive, send)
            return
        self.refused += 1
        await Response(status_code=401, headers={"WWW-Authenticate": self._challenge()})(scope, receive, send)

    def _challenge(self) -> str:
        if self._scheme == "basic":
            return 'Basic realm="Login Required"'
        nonce = secrets.token_hex(8)
        self._nonces[nonce] = self._uses
        return f'Digest qop="auth", realm="device", nonce="{nonce}", algorithm={self._scheme}'

    def _knows(self, header: str, method: str, uri: str) -> bool:
        if self._scheme == "basic":
            pair = base64.b64encode(f"{self._user}:{self._password}".encode()).decode()
            return hmac.compare_digest(header.encode(), f"Basic {pair}".encode())
        fields = {name: quoted or plain for name, quoted, plain in _FIELD.findall(header)}
        nonce = fields.get("nonce", "")
        if self._nonces.get(nonce, 0) <= 0 or fields.get("uri") != uri or fields.get("username") != self._user:
            return False
        self._nonces[nonce] -= 1

        def digest(text: str) -> str:
            return _HASHES[self._scheme](text.encode()).hexdigest()

        of_user, of_request = digest(f"{self._user}:device:{self._password}"), digest(f"{method}:{uri}")
        middle = f"{nonce}:{fields.get('nc')}:{fields.get('cnonce')}:{fields.get('qop')}"
        return hmac.compare_digest(fields.get("response", ""), digest(f"{of_user}:{middle}:{of_request}"))
