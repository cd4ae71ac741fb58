"""Fetch a release's parts from a server, and leave them where the root program ``parkmesh-pull`` takes them.

It runs in a process of its own, at the lowest priority and at a bounded rate, so that no gate waits for it. What was
fetched stays: an interrupted fetch goes on where it was. Only files that the running release doesn't have are fetched.
"""

import hashlib
import os
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import httpx
import msgspec

from parkmesh.gateway.backoff import Backoff, retry_after_s
from parkmesh.protocol import releases

INBOX = "pull"
"""The folder beside the spool."""
RATE_BYTES_S = 256 * 1024
"""Bytes per second that a fetch takes of the line."""
SPARE_BYTES = 64 * 1024 * 1024
"""Room on the disk that stays free for the spool."""
TRIES = 12
"""Failures in a row after which the fetch ends; the agent starts another one later."""
TIMEOUT = httpx.Timeout(60.0, connect=5.0)


class FetchError(Exception):
    """The release couldn't be fetched; the text says why."""


class Fetched(msgspec.Struct, frozen=True):
    """Bytes are those that crossed the line; ``parts`` counts the files that were fetched, ``files`` all."""

    serial: int
    release: str
    files: int
    parts: int
    manifest_bytes: int
    part_bytes: int


def missing(manifest: releases.Manifest, have: Path) -> dict[str, releases.File]:
    """Return the files, by digest, that the release in the folder ``have`` doesn't have at the same place."""
    lacking: dict[str, releases.File] = {}
    for file in manifest.files:
        path = have / file.path
        try:
            same = path.stat().st_size == file.size and hashlib.sha256(path.read_bytes()).hexdigest() == file.sha256
        except OSError:
            same = False
        if not same:
            lacking[file.sha256] = file
    return lacking


def write(path: Path, content: bytes) -> None:
    """Write a file as a whole or not at all."""
    fresh = path.with_name(f".{path.name}.new")
    with fresh.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    fresh.replace(path)


class Fetch:
    """One fetch. ``servers`` are tried in turn; ``sleep`` and ``rate`` (bytes per second, 0: no bound) slow it down."""

    def __init__(
        self,
        client: httpx.Client,
        servers: list[str],
        inbox: Path,
        have: Path,
        *,
        rate: int = RATE_BYTES_S,
        sleep: Callable[[float], None] = time.sleep,
        backoff: Backoff | None = None,
    ) -> None:
        self._client, self._servers, self._inbox, self._have = client, servers, inbox, have
        self._rate, self._sleep, self._backoff = rate, sleep, backoff or Backoff()
        self._server = 0

    def run(self, serial: int) -> Fetched:
        """Fetch all that is missing and say that it is ready. Raise ``FetchError``."""
        parts = self._inbox / "parts"
        try:
            parts.mkdir(parents=True, exist_ok=True)
            with suppress(FileNotFoundError):
                (self._inbox / "ready").unlink()
            answer = self._ask("GET", f"/edge/v1/releases/{serial}", None)
            signature, packed = answer[: releases.SIGNATURE_BYTES], answer[releases.SIGNATURE_BYTES :]
            manifest = releases.read_manifest(releases.unpack(packed, releases.MAX_MANIFEST))
            if manifest.serial != serial:
                raise FetchError(f"the server answered with number {manifest.serial}")
            lacking = missing(manifest, self._have)
            self._need_room(sum(file.size for file in lacking.values()))
            waiting = self._not_held(parts, lacking)
            count, size = len(waiting), self._fetch_all(parts, waiting)
            write(self._inbox / "manifest.z", packed)
            write(self._inbox / "signature", signature)
            write(self._inbox / "ready", str(serial).encode())
        except OSError as error:
            raise FetchError(f"the disk: {error.strerror or error}") from None
        except ValueError as error:
            raise FetchError(f"the manifest: {error}") from None
        return Fetched(serial, manifest.release, len(manifest.files), count, len(answer), size)

    def _need_room(self, size: int) -> None:
        disk = os.statvfs(self._inbox)
        free = disk.f_bavail * disk.f_frsize
        if free < size + SPARE_BYTES:
            raise FetchError(f"the disk is full: {free >> 20} MiB are free, {(size + SPARE_BYTES) >> 20} are needed")

    def _not_held(self, parts: Path, lacking: dict[str, releases.File]) -> list[str]:
        """Return the parts that aren't here whole yet, and remove those of other releases."""
        held = set()
        for path in parts.iterdir():
            with suppress(releases.WrongPartError):
                if path.name in lacking:
                    releases.checked(path.name, path.read_bytes(), lacking[path.name].size)
                    held.add(path.name)
            if path.name not in held:
                path.unlink()
        return [digest for digest in lacking if digest not in held]

    def _fetch_all(self, parts: Path, waiting: list[str]) -> int:
        total = 0
        while waiting:
            body = msgspec.json.encode(releases.PartsWanted(waiting[: releases.MAX_PARTS]))
            answer = self._ask("POST", "/edge/v1/release-parts", body)
            total += len(answer)
            came = set()
            try:
                for digest, content in releases.read_frames(answer):
                    if digest in waiting:
                        releases.checked(digest, content)
                        # Not flushed: one that a power cut damages is found by its digest, here or by root.
                        (parts / digest).write_bytes(content)
                        came.add(digest)
            except releases.WrongPartError as error:
                self._failed(f"a part from {self._servers[self._server]} is wrong: {error}")
                continue
            if not came:
                self._failed(f"{self._servers[self._server]} sent no part that was asked for")
                continue
            self._tries = 0
            waiting = [digest for digest in waiting if digest not in came]
            if self._rate and waiting:
                self._sleep(len(answer) / self._rate)
        return total

    _tries = 0

    def _failed(self, why: str, asked_s: float | None = None) -> None:
        """Go on with the next server after a while; raise ``FetchError`` after too many failures in a row."""
        self._tries += 1
        if self._tries >= TRIES:
            raise FetchError(why)
        self._server = (self._server + 1) % len(self._servers)
        self._sleep(self._backoff.next_s(asked_s))

    def _ask(self, method: str, path: str, body: bytes | None) -> bytes:
        while True:
            server = self._servers[self._server]
            headers = {"Content-Type": "application/json"} if body else None
            try:
                answer = self._client.request(method, server + path, content=body, headers=headers, timeout=TIMEOUT)
            except httpx.HTTPError as error:
                self._failed(f"{server}: {str(error) or type(error).__name__}")
                continue
            if answer.status_code == 200:
                return answer.content
            why = f"{server}: HTTP {answer.status_code}"
            if answer.status_code == 404:
                # It was published anew, or withdrawn, since the gateway was told.
                raise FetchError(f"{why}: the release isn't there any more")
            self._failed(why, retry_after_s(answer.headers.get("Retry-After"), time.time()))


def yield_to_gates() -> None:
    """Put this process behind all others: for the processor, for the disk, and where memory runs out."""
    os.nice(19)
    with suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("1000")
