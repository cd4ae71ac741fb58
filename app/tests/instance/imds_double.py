"""The instance metadata service as AWS documents it, version 2 only, on a loopback port.

A PUT with a TTL gives a token; a GET without one is 401; a token request that was forwarded (X-Forwarded-For) is 403;
what isn't there is 404; a TTL outside 1 to 21600 is 400.
"""

import secrets
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType


class ImdsDouble:
    """Serve ``paths`` (below /latest/) of one instance: ``with ImdsDouble({...}) as imds``."""

    def __init__(self, paths: dict[str, str]) -> None:
        self.paths = paths
        self.tokens: set[str] = set()
        double = self

        class Handler(BaseHTTPRequestHandler):
            def do_PUT(self) -> None:
                ttl = self.headers.get("X-aws-ec2-metadata-token-ttl-seconds", "")
                if self.headers.get("X-Forwarded-For"):
                    self._answer(403, "")
                elif self.path != "/latest/api/token" or not (ttl.isdigit() and 1 <= int(ttl) <= 21_600):
                    self._answer(400, "")
                else:
                    token = secrets.token_urlsafe(40)
                    double.tokens.add(token)
                    self._answer(200, token)

            def do_GET(self) -> None:
                if self.headers.get("X-aws-ec2-metadata-token") not in double.tokens:
                    self._answer(401, "")
                    return
                path = self.path.removeprefix("/latest/")
                self._answer(200 if path in double.paths else 404, double.paths.get(path, ""))

            def _answer(self, status: int, text: str) -> None:
                content = text.encode()
                self.send_response(status)
                self.send_header("Content-Type", "text/plain")
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, format: str, *args: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.endpoint = f"http://127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> "ImdsDouble":
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()
