"""A real HTTPS server on loopback that receives webhooks, for tests."""

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path


@dataclass
class Received:
    path: str
    headers: dict[str, str]
    body: bytes


@dataclass
class Receiver:
    """``answers`` are given to the next requests, as status line and headers; then each is answered with 204.
    ``delay_s`` passes before an answer; ``at_once`` is the most requests under way with the same ``webhook-id``."""

    port: int = 0
    host: str = "hooks.test"
    answers: list[str] = field(default_factory=list)
    received: list[Received] = field(default_factory=list)
    connections: int = 0
    delay_s: float = 0.0
    at_once: int = 0
    _now: list[str] = field(default_factory=list)

    @property
    def url(self) -> str:
        return f"https://{self.host}:{self.port}/in"

    async def until(self, count: int) -> list[Received]:
        """Wait until ``count`` requests came; return them."""
        for _ in range(200):
            if len(self.received) >= count:
                break
            await asyncio.sleep(0.05)
        assert len(self.received) == count, (len(self.received), count)
        return self.received

    async def handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode()
            first, *lines = head.strip().split("\r\n")
            headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
            body = await reader.readexactly(int(headers["content-length"]))
            self.received.append(Received(first.split()[1], headers, body))
            self._now.append(headers["webhook-id"])
            self.at_once = max(self.at_once, self._now.count(headers["webhook-id"]))
            answer = self.answers.pop(0) if self.answers else "204 No Content"
            await asyncio.sleep(self.delay_s)
            self._now.remove(headers["webhook-id"])
            writer.write(f"HTTP/1.1 {answer}\r\nContent-Length: 0\r\n\r\n".encode())
            await writer.drain()
        except (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()


@asynccontextmanager
async def receiving(certificate: Path, address: str = "127.0.0.1", port: int = 0) -> AsyncIterator[Receiver]:
    """Receive with a certificate (with its key) for as long as the context lasts."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate)
    receiver = Receiver()
    server = await asyncio.start_server(receiver.handle, address, port, ssl=context)
    receiver.port = server.sockets[0].getsockname()[1]
    try:
        yield receiver
    finally:
        server.close()
