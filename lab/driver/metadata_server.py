"""Serves instance metadata at 169.254.169.254:80 inside containers' network namespaces, from this one process.

A listening socket belongs to the namespace in which it was made, whichever thread accepts on it later.
"""

import logging
import socket
import subprocess
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from lab.driver.metadata import Facts, Metadata
from lab.machine.errors import LabError
from lab.machine.namespaces import in_namespace

log = logging.getLogger(__name__)

ADDRESS = "169.254.169.254"
PORT = 80
REQUEST_TIMEOUT_S = 10


class MetadataServer:
    """The endpoint inside one container, for as long as that container's init has this pid."""

    def __init__(self, pid: int, facts: Facts) -> None:
        self.pid = pid
        self.metadata = Metadata(facts, time.monotonic)
        self._server = _Server(_listen(pid), self.metadata)
        threading.Thread(
            target=self._server.serve_forever, args=(2.0,), name=f"metadata-{facts.instance_id}", daemon=True
        ).start()

    def close(self) -> None:
        """Stop answering and let the namespace go."""
        # Closing first frees the namespace at once; the serving thread notices within its poll interval.
        threading.Thread(target=self._end, daemon=True).start()

    def _end(self) -> None:
        self._server.shutdown()
        self._server.server_close()


def _listen(pid: int) -> socket.socket:
    """A listening socket in the network namespace of a process.

    Raises:
        LabError: the process is gone, or its namespace refuses the address.
    """
    done = subprocess.run(
        ["nsenter", f"--net=/proc/{pid}/ns/net", "ip", "address", "replace", f"{ADDRESS}/32", "dev", "lo"],
        capture_output=True,
        text=True,
        timeout=10,
        check=False,
    )
    if done.returncode:
        raise LabError(f"no metadata address in the namespace of process {pid}: {done.stderr.strip()}")

    def listen() -> socket.socket:
        listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((ADDRESS, PORT))
        listener.listen(64)
        return listener

    try:
        return in_namespace(pid, listen)
    except OSError as error:
        raise LabError(f"no metadata endpoint in the namespace of process {pid}: {error}") from error


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, listener: socket.socket, metadata: Metadata) -> None:
        super().__init__((ADDRESS, PORT), _Handler, bind_and_activate=False)
        self.socket.close()
        self.socket = listener
        self.server_name, self.server_port = ADDRESS, PORT
        self.metadata = metadata

    def handle_error(self, request: Any, client_address: Any) -> None:
        log.exception("a metadata request failed")


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    protocol_version = "HTTP/1.1"
    server_version, sys_version = "EC2ws", ""
    timeout = REQUEST_TIMEOUT_S

    def _respond(self) -> None:
        headers = {name.lower(): value for name, value in self.headers.items()}
        answer = self.server.metadata.answer(self.command, self.path, headers)
        self.send_response(answer.status)
        self.send_header("Content-Type", answer.content_type)
        self.send_header("Content-Length", str(len(answer.body)))
        for name, value in answer.headers.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(answer.body)

    do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = _respond

    def log_message(self, format: str, *args: Any) -> None:
        """Requests are not logged: paths are dull and tokens are secret."""
