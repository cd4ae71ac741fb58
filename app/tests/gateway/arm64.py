"""Run the gateway's release for 64-bit ARM, the processor of a Raspberry Pi, under QEMU's emulation of one program.

The tree of a Debian for arm64 (Python and the C library; Raspberry Pi OS takes these packages from Debian) is made
once, in .cache. The release is built for it as `roll-gateways` builds it, and its agent runs there by qemu-aarch64,
with its real spool, formats and HTTP; server, relay and cameras are processes of this machine. A known car opens the
barrier, a stranger doesn't, another known one opens it without a line; after a kill -9, with the line back, the
server has all.

What isn't emulated: the kernel, systemd, GPIO lines, the speed. Needs root, mmdebstrap and qemu-user.

    python arm64.py [--suite trixie]
"""

import argparse
import json
import os
import platform
import shutil
import signal
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import httpx
import processes
from edge_server import TOKEN, EdgeServer
from parkmesh.protocol.edge import AccessEntry
from parkmesh.simulator import camera, drive
from processes import GatewaySite
from starlette.responses import Response

ROOT = Path(__file__).resolve().parents[3]
PYTHONS = {"bookworm": "3.11", "trixie": "3.13"}
PROGRAMS = ("mmdebstrap", "qemu-aarch64")
MIRROR = "http://deb.debian.org/debian"
PATIENCE_S = 900.0
"""Emulation takes twenty times as long; the first start compiles all modules, too."""


def wait_for(condition: Callable[[], object], what: str) -> None:
    """Look once a second, which leaves the processor to the emulation."""
    until = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < until, f"waited {PATIENCE_S:g} s for {what}"
        time.sleep(1)


def tree(suite: str) -> Path:
    """Return the folder of the suite's tree for arm64, which is made if it isn't there."""
    folder = ROOT / ".cache" / f"arm64-{suite}"
    if not (folder / "usr/bin/python3").exists():
        print(f"making the tree of {suite} for arm64 in {folder}", flush=True)
        shutil.rmtree(folder, ignore_errors=True)
        # Packages are unpacked and not set up: that would need the kernel to run ARM programs by itself.
        command = ["mmdebstrap", "--quiet", "--arch=arm64", "--variant=extract", "--include=python3", suite]
        subprocess.run([*command, str(folder), MIRROR], check=True)
        for name in ("bin", "lib", "sbin"):
            if not (folder / name).exists():
                (folder / name).symlink_to(f"usr/{name}")
    return folder


def release(suite: str, into: Path) -> Path:
    """Build the gateway's release for arm64, unpack it, and return its folder of modules."""
    command = [sys.executable, str(ROOT / "scripts/build_release.py"), "--target=gateway"]
    command += [f"--python={PYTHONS[suite]}", "--arch=aarch64"]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    built = json.loads(done.stdout)
    print(f"release {built['release_id']}", flush=True)
    with tarfile.open(built["archive"]) as archive:
        archive.extractall(into, filter="data")
    return into / "lib"


def send(site: GatewaySite, plate: str) -> None:
    body, kind = camera.multipart(camera.shot(plate, drive.now()))
    url = f"http://127.0.0.1:{site.port}/cameras/cam-in/events"
    httpx.post(url, content=body, headers={"Content-Type": kind}, timeout=PATIENCE_S).raise_for_status()


def drill(folder: Path, program: list[str]) -> None:
    def emulated(*args: str) -> list[str]:
        return [*program, "-m", "parkmesh", *args]

    processes.parkmesh, processes.wait_for, processes.PATIENCE_S = emulated, wait_for, PATIENCE_S
    known = [AccessEntry("ana", "1234BCD", "active"), AccessEntry("bob", "5678FGH", "active")]
    with EdgeServer(known) as server:
        site = GatewaySite(folder, [server.url], TOKEN)
        try:
            began = time.monotonic()
            site.start_relay()
            site.start_gateway()
            wait_for(lambda: site.status()["access_list_version"] == 1, "the access list")
            print(f"the agent has its list after {time.monotonic() - began:.0f} s", flush=True)
            send(site, "1234BCD")
            wait_for(lambda: site.pulses() == 1, "the barrier for a known car")
            send(site, "7777ZZZ")
            wait_for(lambda: len(server.passages()) == 2, "both passages at the server")
            server.fault = lambda _: Response(status_code=503)
            send(site, "5678FGH")
            wait_for(lambda: site.pulses() == 2, "the barrier without a line")
            assert site.gateway is not None
            site.gateway.stop(signal.SIGKILL)
            server.fault = lambda _: None
            site.start_gateway()
            wait_for(lambda: len(server.passages()) == 3, "the passage of the time without a line")
            told = [(passage.plate, passage.decision, passage.opened) for passage in server.passages()]
            expected = [("1234BCD", "granted", True), ("7777ZZZ", "denied", None), ("5678FGH", "granted", True)]
            if told != expected or site.pulses() != 2:
                raise SystemExit(f"the server has {told} instead of {expected}; pulses: {site.pulses()}")
            print(f"well: {told}", flush=True)
        except AssertionError as error:
            log = site.gateway.log if site.gateway else ""
            raise SystemExit(f"{error}\n{log[-2000:]}") from None
        finally:
            site.stop()


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--suite", choices=sorted(PYTHONS), default="trixie", help="of Debian (trixie)")
    options = parser.parse_args()
    if missing := [name for name in PROGRAMS if shutil.which(name) is None]:
        sys.exit(f"arm64: {' and '.join(missing)} missing: apt-get install mmdebstrap qemu-user")
    if os.geteuid() != 0:
        sys.exit("arm64: making the tree needs root")
    root = tree(options.suite)
    with tempfile.TemporaryDirectory(prefix="parkmesh-arm64-") as name:
        folder = Path(name)
        modules = release(options.suite, folder / "release")
        program = ["env", "-u", "PYTHONDONTWRITEBYTECODE", f"PYTHONPATH={modules}", "qemu-aarch64", "-L", str(root)]
        program += [str(root / "usr/bin" / f"python{PYTHONS[options.suite]}"), "-P"]
        said = subprocess.run(
            [*program, "-c", "import platform, gpiod, msgspec; print(platform.machine(), platform.python_version())"],
            check=True,
            capture_output=True,
            text=True,
        )
        print(f"here {platform.machine()}, emulated {said.stdout.strip()}", flush=True)
        drill(folder, program)


if __name__ == "__main__":
    main()
