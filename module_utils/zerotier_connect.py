"""Find out which kind of control plane a URL is, and make its client."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from module_utils import zerotier_http as http
    from module_utils import zerotier_model as model
    from module_utils.zerotier_central_v1 import CentralV1Client
    from module_utils.zerotier_central_v2 import CentralV2Client
    from module_utils.zerotier_client import Client, Kind
    from module_utils.zerotier_controller import ControllerClient
else:
    from ansible.module_utils import zerotier_http as http
    from ansible.module_utils import zerotier_model as model
    from ansible.module_utils.zerotier_central_v1 import CentralV1Client
    from ansible.module_utils.zerotier_central_v2 import CentralV2Client
    from ansible.module_utils.zerotier_client import Client, Kind
    from ansible.module_utils.zerotier_controller import ControllerClient

DEFAULT_URLS: Final[Mapping[str, str]] = {
    "controller": "http://127.0.0.1:9993",
    "central_v1": "https://api.zerotier.com/api/v1",
    "central_v2": "https://central.zerotier.com/api/v2",
}


def detect_kind(url: str) -> Kind | None:
    """The kind of control plane that a URL's path tells, or None when it must be asked."""
    path = urlsplit(url).path.rstrip("/")
    if path.endswith("/api/v1"):
        return "central_v1"
    if re.search(r"/api/v2(beta)?$", path):
        return "central_v2"
    return None


@dataclass(frozen=True, slots=True, repr=False)
class Connection:
    """How to reach one control plane. ``api`` is a kind or ``auto``; times are in seconds."""

    api: str
    token: str
    url: str | None = None
    timeout: float = 30.0
    retries: int = 4
    validate_certs: bool = True
    ca_path: str | None = None
    parallel: int = 8

    def __repr__(self) -> str:
        return f"<Connection {self.api} {self.url}>"


def _controller(connection: Connection, url: str, token: str) -> ControllerClient:
    return ControllerClient(_transport(connection, url, {"X-ZT1-Auth": token}, token, fresh=True))


def _transport(
    connection: Connection, url: str, headers: Mapping[str, str], token: str, *, fresh: bool = False
) -> http.Transport:
    return http.Transport(
        url,
        headers,
        token,
        timeout=connection.timeout,
        retries=connection.retries,
        verify=(connection.ca_path or True) if connection.validate_certs else False,
        fresh_connections=fresh,
        parallel=connection.parallel,
    )


def connect(connection: Connection) -> Client:
    """A client for a control plane.

    With ``auto`` the URL's path tells Central's version; any other URL, by default that of this host's own node, is
    asked whether it is a controller. Raises SettingsError for a URL that can't be one, TokenError for such a token, and
    ApiError when the asking fails.
    """
    token = http.clean_token(connection.token)
    if connection.api != "auto" and connection.api not in DEFAULT_URLS:
        raise model.SettingsError(f"api: {connection.api!r} is none of auto, {', '.join(DEFAULT_URLS)}")
    kind: str = connection.api
    url = (connection.url or DEFAULT_URLS["controller" if kind == "auto" else kind]).strip().rstrip("/")
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise model.SettingsError(f"{url!r} is no URL of a control plane: it begins with http:// or https://")
    if parts.username or parts.password:
        raise model.SettingsError("the URL holds a user name or a password: give the token as token or token_file")
    if kind == "auto":
        kind = detect_kind(url) or "auto"
    factories: dict[str, Callable[[], Client]] = {
        "controller": lambda: _controller(connection, url, token),
        "central_v1": lambda: CentralV1Client(_transport(connection, url, {"Authorization": f"token {token}"}, token)),
        "central_v2": lambda: CentralV2Client(
            _transport(connection, re.sub(r"/v2(beta)?$", "", url), {"Authorization": f"Bearer {token}"}, token)
        ),
    }
    if kind == "auto":
        client = _controller(connection, url, token)
        client.check()
        return client
    return factories[kind]()
