"""The EC2 instance metadata service, version 2: a session token first, then what the instance may know of itself.

``AWS_EC2_METADATA_SERVICE_ENDPOINT`` moves it, as for every AWS SDK.
"""

import os
import time
import urllib.error
import urllib.request
from collections.abc import Callable

DEFAULT_ENDPOINT = "http://169.254.169.254"
_TOKEN_TTL_S = 300
_TIMEOUT_S = 2.0
_ATTEMPTS = 30
_PAUSE_S = 1.0


class ImdsError(Exception):
    """The metadata service can't be reached or has no such thing; one line."""


class Imds:
    """One session. The first call waits for the service, because at boot the network may come up after us."""

    def __init__(self, endpoint: str | None = None, *, sleep: Callable[[float], None] = time.sleep) -> None:
        chosen = endpoint or os.environ.get("AWS_EC2_METADATA_SERVICE_ENDPOINT") or DEFAULT_ENDPOINT
        if not chosen.startswith(("http://", "https://")):
            raise ImdsError(f"the metadata endpoint {chosen!r} is not an http URL")
        self._endpoint, self._sleep = chosen.rstrip("/"), sleep
        # Metadata is link-local: a proxy of the environment must never see it.
        self._opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        self._token: str | None = None

    def _request(self, method: str, path: str, headers: dict[str, str]) -> str:
        request = urllib.request.Request(  # noqa: S310 -- the scheme is checked above
            f"{self._endpoint}{path}", method=method, headers=headers
        )
        with self._opener.open(request, timeout=_TIMEOUT_S) as response:
            return str(response.read().decode("utf-8"))

    def _session(self) -> str:
        for attempt in range(_ATTEMPTS):
            try:
                return self._request(
                    "PUT", "/latest/api/token", {"X-aws-ec2-metadata-token-ttl-seconds": str(_TOKEN_TTL_S)}
                )
            except urllib.error.HTTPError as error:
                raise ImdsError(f"{self._endpoint} refuses a session token: HTTP {error.code}") from None
            except OSError as error:
                if attempt == _ATTEMPTS - 1:
                    raise ImdsError(f"no metadata service at {self._endpoint}: {error}") from None
            self._sleep(_PAUSE_S)
        raise AssertionError("unreachable")

    def get(self, path: str) -> str:
        """Return the text at ``/latest/<path>``. A session that has ended is renewed."""
        old = self._token is not None
        if self._token is None:
            self._token = self._session()
        try:
            return self._request("GET", f"/latest/{path}", {"X-aws-ec2-metadata-token": self._token})
        except urllib.error.HTTPError as error:
            if error.code == 401 and old:
                self._token = None
                return self.get(path)
            what = "is not there" if error.code == 404 else f"answers HTTP {error.code}"
            raise ImdsError(f"{self._endpoint}/latest/{path} {what}") from None
        except (OSError, UnicodeDecodeError) as error:
            raise ImdsError(f"{self._endpoint}/latest/{path}: {error}") from None

    def user_data(self) -> str:
        return self.get("user-data")

    def instance_id(self) -> str:
        return self.get("meta-data/instance-id").strip()

    def availability_zone(self) -> str:
        return self.get("meta-data/placement/availability-zone").strip()

    def private_ip(self) -> str:
        return self.get("meta-data/local-ipv4").strip()
