"""A double of any HTTP service: answers each request with the next scripted bytes, however broken they are."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Reply:
    """One answer. ``stall_s`` keeps the connection open in silence after ``content``."""

    content: bytes
    stall_s: float = 0.0


@dataclass
class Request:
    """What was asked."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes


def answer(status: int, body: bytes | object, headers: dict[str, str] | None = None) -> Reply:
    """A well-formed answer; anything but bytes becomes JSON."""
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    lines = [f"HTTP/1.1 {status} X", f"Content-Length: {len(content)}", "Connection: close"]
    lines += [f"{name}: {value}" for name, value in (headers or {}).items()]
    return Reply("\r\n".join(lines).encode() + b"\r\n\r\n" + content)


@dataclass
class Scripted:
    """The running double."""

    url: str
    requests: list[Request] = field(default_factory=list)


def _read_request(connection: socket.socket) -> Request | None:
    data = b""
    while b"\r\n\r\n" not in data:
        part = connection.recv(65536)
        if not part:
            return None
        data += part
    head, _, body = data.partition(b"\r\n\r\n")
    first, *lines = head.decode("latin-1").split("\r\n")
    headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
    while len(body) < int(headers.get("content-length", "0")):
        body += connection.recv(65536)
    method, path, _ = first.split(" ")
    return Request(method, path, headers, body)


@contextmanager
def scripted(replies: Iterable[Reply]) -> Iterator[Scripted]:
    """Serve the replies in order, one connection each; the last one is repeated."""
    listener = socket.create_server(("127.0.0.1", 0))
    double = Scripted(f"http://127.0.0.1:{listener.getsockname()[1]}")
    remaining = list(replies)
    stop = threading.Event()

    def serve() -> None:
        while not stop.is_set():
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            with connection:
                connection.settimeout(5)
                request = _read_request(connection)
                if request is None:
                    continue
                double.requests.append(request)
                reply = remaining.pop(0) if len(remaining) > 1 else remaining[0]
                connection.sendall(reply.content)
                stop.wait(reply.stall_s)

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    try:
        yield double
    finally:
        stop.set()
        # A blocked accept only ends with a connection.
        with socket.create_connection(listener.getsockname()):
            time.sleep(0)
        thread.join(6)
        listener.close()
