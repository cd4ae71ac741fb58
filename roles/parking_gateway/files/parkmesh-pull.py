#!/usr/bin/python3
"""Take a release that the gateway's agent has fetched: check its signature and every file, and put it on trial.

No part of a release, and of Python's own library only, as parkmesh-rollout. systemd runs it as root
(parkmesh-gateway-pull.path sees that a release is ready). The agent isn't trusted: what it wrote is opened without
following links, read once and within bounds, and only files whose digests the signed manifest names are used.

In the agent's folder /var/lib/parkmesh/pull:
  ready             asks for this program; the number of the release
  manifest.z        the manifest (JSON), compressed
  signature         of the manifest's bytes, Ed25519
  parts/<sha256>    files of the release, compressed
In /var/lib/parkmesh-rollout:
  floor             the number of the newest release that was tried or pushed: no lower one is taken
  pulled/           the release to try, with the configuration and the unit that run now
Beside the releases, /opt/parkmesh/pulled.json says how it went: the agent reads it and tells a server.
"""

import argparse
import hashlib
import json
import os
import platform
import re
import shutil
import stat
import subprocess
import sys
import time
import zlib
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

FORMAT = 1
MAX_MANIFEST = 4 * 1024 * 1024
MAX_PART = 16 * 1024 * 1024
MAX_RELEASE = 256 * 1024 * 1024
MAX_FILES = 20_000
SIGNATURE_BYTES = 64
SPARE_BYTES = 64 * 1024 * 1024
"""Room that stays free for the spool and the journal."""
COMPILED = 3
"""A release takes up to this many times the bytes of its files, with what Python compiles of them."""
KEPT = 3
"""Releases that stay: the new one, what ran before it, and one more."""
UNIT = "parkmesh-gateway.service"
FILES = {"gateway.json": "etc/parkmesh/gateway.json", UNIT: f"etc/systemd/system/{UNIT}"}
"""As in parkmesh-rollout."""

Run = Callable[[Sequence[str]], "subprocess.CompletedProcess[str]"]


class NotTaken(Exception):
    """The release can't be taken now; the agent fetches again later."""


class Refused(Exception):
    """The release is never taken."""


def run(command: Sequence[str]) -> "subprocess.CompletedProcess[str]":
    """Run a command and return what it printed; one that can't be started or doesn't end fails like any other."""
    try:
        return subprocess.run(command, check=False, capture_output=True, text=True, timeout=900)
    except (OSError, subprocess.TimeoutExpired) as error:
        return subprocess.CompletedProcess(command, 127, "", str(error))


def read(folder: int, name: str, limit: int) -> bytes:
    """Return a file of the agent's; raise ``NotTaken`` for what is no plain file, or larger than ``limit`` bytes."""
    try:
        # A named pipe must not make this wait.
        handle = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=folder)
    except OSError as error:
        raise NotTaken(f"{name} can't be read: {error.strerror}") from None
    with os.fdopen(handle, "rb") as file:
        if not stat.S_ISREG(os.fstat(handle).st_mode):
            raise NotTaken(f"{name} is no file")
        content = file.read(limit + 1)
    if len(content) > limit:
        raise NotTaken(f"{name} has more than {limit} bytes")
    return content


def unpack(name: str, compressed: bytes, limit: int) -> bytes:
    """Return what was compressed; raise ``NotTaken`` where it is damaged or larger than ``limit`` bytes."""
    reader = zlib.decompressobj()
    try:
        content = reader.decompress(compressed, limit + 1)
    except zlib.error:
        raise NotTaken(f"{name} is damaged") from None
    if len(content) > limit or not reader.eof:
        raise NotTaken(f"{name} is damaged")
    return content


def flush(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def write(path: Path, text: str, mode: int) -> None:
    """Write a file as a whole or not at all."""
    fresh = path.with_name(f".{path.name}.new")
    fresh.write_text(text)
    fresh.chmod(mode)
    flush(fresh)
    fresh.replace(path)
    flush(path.parent)


def checked(manifest: Any) -> dict[str, Any]:
    """Return a manifest of the right form; raise ``Refused`` for another. It is signed: this finds mistakes."""
    try:
        if manifest["format"] != FORMAT:
            raise Refused(f"the manifest has format {manifest['format']}, expected {FORMAT}")
        right = isinstance(manifest["serial"], int) and bool(re.fullmatch("[0-9a-f]{12}", manifest["release"]))
        total, seen = 0, set()
        for path, executable, digest, size in manifest["files"]:
            parts = path.split("/")
            right = right and parts[0] in ("bin", "lib") and len(parts) > 1 and path not in seen
            right = right and not any(part in ("", ".", "..") or "\0" in part for part in parts)
            right = right and isinstance(executable, bool) and bool(re.fullmatch("[0-9a-f]{64}", digest))
            right = right and isinstance(size, int) and 0 <= size <= MAX_PART
            if not right:
                break
            total += size
            seen.add(path)
        if not right or not seen or len(seen) > MAX_FILES or total > MAX_RELEASE:
            raise Refused("the manifest isn't as expected")
        result: dict[str, Any] = manifest
        return result | {"bytes": total}
    except (KeyError, TypeError, ValueError, AttributeError):
        raise Refused("the manifest isn't as expected") from None


class Pull:
    """A gateway's files below ``root``; ``run`` runs openssl, Python's compiler and parkmesh-rollout."""

    def __init__(self, root: Path, run: Run, *, here: tuple[str, str] | None = None) -> None:
        self._root, self._run = root, run
        self._inbox = root / "var/lib/parkmesh/pull"
        self._state = root / "var/lib/parkmesh-rollout"
        self._home = root / "opt/parkmesh"
        self._key = root / "etc/parkmesh/release.pub"
        self._here = here or (f"{sys.version_info.major}.{sys.version_info.minor}", platform.machine())
        self.asked, self.serial, self.release = 0, 0, ""

    def take(self, within: float, up: float) -> dict[str, Any]:
        """Do all of it, and return how it went: kept, put back, refused, or not taken."""
        try:
            result, reason = self._take(within, up)
        except Refused as error:
            result, reason = "refused", str(error)
        except NotTaken as error:
            result, reason = "not taken", str(error)
        except OSError as error:
            result, reason = "not taken", f"{error.strerror or error}: {error.filename or 'the disk'}"
        return self._tell(result, reason)

    def _tell(self, result: str, reason: str) -> dict[str, Any]:
        """Write for the agent how it goes, and return it."""
        outcome: dict[str, Any] = {"asked": self.asked, "serial": self.serial, "release": self.release}
        outcome |= {"result": result, "reason": reason[:1000], "at": int(time.time())}
        # A disk that is full must not keep the journal from its line.
        with suppress(OSError):
            write(self._home / "pulled.json", json.dumps(outcome) + "\n", 0o644)
        return outcome

    def _take(self, within: float, up: float) -> tuple[str, str]:
        self._state.mkdir(mode=0o700, parents=True, exist_ok=True)
        inbox = os.open(self._inbox, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
        try:
            with suppress(NotTaken, ValueError):
                self.asked = int(read(inbox, "ready", 20))
            with suppress(FileNotFoundError):
                os.unlink("ready", dir_fd=inbox)
            manifest = self._manifest(inbox)
            self._fit(manifest)
            self._build(inbox, manifest)
        finally:
            os.close(inbox)
        return self._try(within, up)

    def _manifest(self, inbox: int) -> dict[str, Any]:
        """Return the manifest, whose signature is right. Nothing of it is looked at before."""
        content = unpack("manifest.z", read(inbox, "manifest.z", MAX_MANIFEST), MAX_MANIFEST)
        signature = read(inbox, "signature", SIGNATURE_BYTES)
        if not self._key.exists():
            raise NotTaken(f"{self._key} is missing: there is no key to check the signature with")
        folder = self._state / "signed"
        folder.mkdir(mode=0o700, exist_ok=True)
        (folder / "manifest").write_bytes(content)
        (folder / "signature").write_bytes(signature)
        done = self._run(
            [
                *("openssl", "pkeyutl", "-verify", "-pubin", "-inkey", str(self._key), "-rawin"),
                *("-in", str(folder / "manifest"), "-sigfile", str(folder / "signature")),
            ]
        )
        if done.returncode:
            raise NotTaken("the signature is wrong: the release isn't from who holds the key in release.pub")
        try:
            manifest = json.loads(content)
        except ValueError:
            raise Refused("the manifest isn't as expected") from None
        found = checked(manifest)
        self.serial, self.release = found["serial"], found["release"]
        return found

    def _fit(self, manifest: dict[str, Any]) -> None:
        """Raise where the release isn't for this gateway, is older than what it had, or finds no room."""
        floor = self._floor()
        if manifest["serial"] <= floor:
            raise Refused(f"number {manifest['serial']} isn't above {floor}: the release is older than what was here")
        if (manifest["python"], manifest["arch"]) != self._here:
            raise Refused(
                f"the release is for Python {manifest['python']} on {manifest['arch']}, the gateway has "
                f"{' on '.join(self._here)}"
            )
        disk = os.statvfs(self._home)
        free, needed = disk.f_bavail * disk.f_frsize, manifest["bytes"] * COMPILED + SPARE_BYTES
        if free < needed:
            raise NotTaken(f"the disk is full: {free >> 20} MiB are free, {needed >> 20} MiB are needed")

    def _floor(self) -> int:
        try:
            return int((self._state / "floor").read_text())
        except (OSError, ValueError):
            return 0

    def _build(self, inbox: int, manifest: dict[str, Any]) -> None:
        """Make the release's folder as role parking_runtime does; each file is checked as it is written."""
        target = self._home / "releases" / manifest["release"]
        if (target / ".complete").exists():
            return
        fresh = self._home / "releases" / f".{manifest['release']}.pull"
        shutil.rmtree(fresh, ignore_errors=True)
        try:
            self._fill(inbox, manifest, fresh)
            # An interrupted push may have left a part of it.
            shutil.rmtree(target, ignore_errors=True)
            fresh.rename(target)
            flush(target.parent)
        except BaseException:
            shutil.rmtree(fresh, ignore_errors=True)
            raise

    def _fill(self, inbox: int, manifest: dict[str, Any], fresh: Path) -> None:
        current = self._home / "current"
        try:
            parts = os.open("parts", os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=inbox)
        except OSError:
            raise NotTaken("parts is no folder") from None
        try:
            for path, executable, digest, size in manifest["files"]:
                content = self._held(current / path, digest, size)
                if content is None:
                    content = unpack(f"part {digest}", read(parts, digest, MAX_PART), MAX_PART)
                    if len(content) != size or hashlib.sha256(content).hexdigest() != digest:
                        raise NotTaken(f"part {digest} ({path}) is damaged")
                file = fresh / path
                file.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
                file.write_bytes(content)
                file.chmod(0o755 if executable else 0o644)
        finally:
            os.close(parts)
        done = self._run(["/usr/bin/python3", "-m", "compileall", "-q", str(fresh / "lib")])
        if done.returncode:
            raise NotTaken("the release can't be compiled: " + (done.stdout + done.stderr).strip()[-200:])
        # Of the run as root: a umask must not hide the release from the agent.
        for folder in [fresh, *(path for path in fresh.rglob("*") if path.is_dir())]:
            folder.chmod(0o755)
        (fresh / ".complete").write_text(manifest["release"] + "\n")
        self._run(["sync", "--file-system", str(fresh)])

    @staticmethod
    def _held(path: Path, digest: str, size: int) -> bytes | None:
        """Return a file of the release that runs now, None where it is another."""
        try:
            if path.stat().st_size != size:
                return None
            content = path.read_bytes()
        except OSError:
            return None
        return content if hashlib.sha256(content).hexdigest() == digest else None

    def _try(self, within: float, up: float) -> tuple[str, str]:
        """Put the release on trial with the configuration that runs now; from here on it isn't taken again."""
        pulled = self._state / "pulled"
        shutil.rmtree(pulled, ignore_errors=True)
        pulled.mkdir(mode=0o700)
        for name, place in FILES.items():
            source = self._root / place
            status = source.stat()
            shutil.copyfile(source, pulled / name)
            os.chown(pulled / name, status.st_uid, status.st_gid)
            (pulled / name).chmod(status.st_mode & 0o7777)
        (pulled / "release").write_text(self.release + "\n")
        write(self._state / "floor", f"{self.serial}\n", 0o600)
        # The agent is restarted by the trial: the one after it must know that nothing is left to fetch.
        self._tell("on trial", "")
        done = self._run(
            [
                *(str(self._root / "usr/local/sbin/parkmesh-rollout"), "apply", "--folder=pulled"),
                *(f"--within={within:g}", f"--up={up:g}"),
            ]
        )
        try:
            outcome = json.loads(done.stdout)
            result, reasons = str(outcome["result"]), [str(reason) for reason in outcome["reasons"]]
        except (ValueError, KeyError, TypeError):
            last = (done.stderr.strip() or f"exit code {done.returncode}").splitlines()[-1]
            return "put back", f"the trial ended: {last[:300]}"
        if result == "unchanged":
            result = "kept"
        if result == "kept":
            self._forget_old()
        return result, "; ".join(reasons)

    def _forget_old(self) -> None:
        """Remove the oldest releases, as role parking_runtime does."""
        folders = [path for path in (self._home / "releases").iterdir() if re.fullmatch("[0-9a-f]{12}", path.name)]
        others = [path for path in folders if path.name != self.release]
        others.sort(key=lambda path: path.stat().st_mtime, reverse=True)
        for path in others[KEPT - 1 :]:
            shutil.rmtree(path, ignore_errors=True)


def main() -> int:
    parser = argparse.ArgumentParser(prog="parkmesh-pull", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--within", type=float, required=True, help="seconds in which it must be well")
    parser.add_argument("--up", type=float, required=True, help="seconds that the agent must have been up")
    options = parser.parse_args()
    outcome = Pull(Path("/"), run).take(options.within, options.up)
    what = f"release {outcome['release'] or '(unknown)'}, number {outcome['serial']}"
    print(f"{what}: {outcome['result']}" + (f": {outcome['reason']}" if outcome["reason"] else ""))
    return 0 if outcome["result"] == "kept" else 1


if __name__ == "__main__":
    sys.exit(main())
