"""The SMTP server: a thread of the lab's daemon that waits for connections and does nothing else."""

import asyncio
import logging
import threading
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from aiosmtpd.smtp import SMTP

from lab.mail import box

log = logging.getLogger(__name__)

NAME = "mail.parkmesh.example"


class MailServer:
    """Listens from now on and keeps what comes in ``folder``. ``port`` 0 takes a free one.

    Raises OSError when the address can't be bound.
    """

    def __init__(self, host: str, port: int, folder: Path) -> None:
        handler = _Keeping(folder)
        self._loop = asyncio.new_event_loop()
        listening = self._loop.create_server(
            # Without a name given it would look one up in the DNS at each connection.
            lambda: SMTP(handler, hostname=NAME, ident="parkmesh lab", enable_SMTPUTF8=True, loop=self._loop),
            host,
            port,
        )
        try:
            self._server = self._loop.run_until_complete(listening)
        except OSError:
            self._loop.close()
            raise
        self.port: int = self._server.sockets[0].getsockname()[1]
        self._thread = threading.Thread(target=self._loop.run_forever, name="mail", daemon=True)
        self._thread.start()

    def shutdown(self) -> None:
        """Stop listening and end the connections that there are."""
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.run_until_complete(self._end())
        self._loop.close()

    async def _end(self) -> None:
        self._server.close()
        connections = asyncio.all_tasks() - {asyncio.current_task()}
        for connection in connections:
            connection.cancel()
        await asyncio.gather(*connections, return_exceptions=True)


class _Keeping:
    def __init__(self, folder: Path) -> None:
        self._folder = folder

    async def handle_DATA(self, _server: Any, _session: Any, envelope: Any) -> str:
        try:
            path = box.keep(self._folder, envelope.original_content, datetime.now(UTC))
        except OSError as error:
            log.warning("a mail was not kept: %s", error)
            return "452 not kept: try again later"
        log.info("kept a mail: %s", path.name)
        return "250 kept"
