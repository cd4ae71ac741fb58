"""The certificate with which the gateway listens: read once it is there, and again when it is replaced.

A certificate that can't be read stops no gate: connections over TLS fail, the status says why, and it is tried again.
"""

import asyncio
import logging
import ssl
from pathlib import Path

log = logging.getLogger("parkmesh.gateway")

_LOOK_EVERY_S = 30.0


class CertificateError(Exception):
    """The file has no certificate with its key; one line that names the file and nothing of its content."""


def load(context: ssl.SSLContext, path: Path) -> None:
    """Give a server's context the certificate, its chain and its key, all in one PEM file. Raises CertificateError."""
    try:
        context.load_cert_chain(path, password=lambda: b"")
    except ssl.SSLError as error:
        raise CertificateError(f"{path}: no certificate with its key ({error.reason or 'not PEM'})") from None
    except OSError as error:
        raise CertificateError(f"{path}: {error.strerror}") from None


def context() -> ssl.SSLContext:
    """Return a server's context: TLS 1.2 or later, and no client is asked for a certificate."""
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    made.minimum_version = ssl.TLSVersion.TLSv1_2
    return made


class Certificate:
    """A file and the context that has what is in it. ``fault`` says why it has nothing, or nothing newer."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._seen: tuple[int, int] | None = None
        self.context = context()
        self.fault: str | None = None
        self.refresh()

    def refresh(self) -> None:
        """Read the file if it is another one than before. Connections that are there keep theirs."""
        try:
            found = self._path.stat()
            state = found.st_ino, found.st_mtime_ns
        except OSError:
            state = 0, 0
        if state == self._seen:
            return
        self._seen = state
        try:
            load(context(), self._path)  # half a file must not spoil the context that serves
            load(self.context, self._path)
        except CertificateError as error:
            self.fault = str(error)
            log.error("TLS: %s", error)
            return
        self.fault = None
        log.info("TLS: the certificate is %s", self._path)

    async def watch(self) -> None:
        """Notice a replaced file. Runs until cancelled."""
        while True:
            await asyncio.sleep(_LOOK_EVERY_S)
            await asyncio.to_thread(self.refresh)
