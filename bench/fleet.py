"""Measure how a fleet of gateways fetches a release from one server, and calculate on to as many as are planned.

Every gateway is a process of its own, the command that the agent runs (``parkmesh gateway fetch-release``), with its
own token and folder. One real server with PostgreSQL serves all of them. Three rounds:

* whole: the gateways have nothing of the release.
* changed: they run a release of which ``--changed`` modules of the application are different.
* same: nothing is different; what even this costs.

Then the root program takes one release, as on a gateway: signature, digests, folder, compiled modules.

Usage: python bench/fleet.py [--gateways 50] [--rate 262144] [--changed 12] [--fleet 10000] [--servers 4]
"""

import argparse
import asyncio
import base64
import importlib.util
import json
import os
import platform
import shutil
import subprocess
import sys
import tarfile
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import asyncpg
from _deployment import ROOT, Database, Server, postgres, quantile, report, server
from ingestion import seed, token
from parkmesh.gateway.release_fetch import Fetched
from parkmesh.server.commands import release_publication
from parkmesh.server.edge import releases as edge_releases

LINE_BYTES_S = 1_000_000 / 8
"""A slow line of a site."""


def program(name: str, path: str) -> Any:
    spec = importlib.util.spec_from_file_location(name, ROOT / path)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


signing = program("sign_release", "scripts/sign_release.py")
pull = program("parkmesh_pull", "roles/parking_gateway/files/parkmesh-pull.py")


@dataclass
class Round:
    """What one round took; CPU seconds of the server and of PostgreSQL."""

    fetched: list[Fetched]
    seconds: list[float]
    wall_s: float
    server_s: float
    database_s: float


def built() -> tuple[Path, str]:
    """Return the archive of this tree's release, and its id."""
    command = [sys.executable, str(ROOT / "scripts/build_release.py"), "--target=gateway", "--python=3.13"]
    command.append(f"--arch={platform.machine()}")
    done = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    return Path(done["archive"]), done["release_id"]


def running_release(archive: Path, folder: Path, changed: int) -> Path:
    """Return the folder of the release before: the archive's, with a line more in some of the gateway's modules."""
    with tarfile.open(archive) as tar:
        tar.extractall(folder, filter="data")
    for path in sorted((folder / "lib/parkmesh/gateway").glob("*.py"))[:changed]:
        path.write_text(path.read_text() + "\n# of the release before\n")
    return folder


async def publish(base: Database, document: dict[str, Any], gateways: int) -> None:
    document = document | {"gateways": {f"c{number}": [] for number in range(1, gateways + 1)}}
    connection = await asyncpg.connect(base.addresses.app)
    try:
        publication, manifest = release_publication.read(json.dumps(document).encode())
        done = await release_publication.publish(connection, publication, manifest)
    finally:
        await connection.close()
    assert done.ordered == gateways, done
    report("published: bytes stored", done.new_bytes / 1e6, "MB")


def configured(folder: Path, running: Server, number: int) -> Path:
    """Write a gateway's token and configuration."""
    folder.mkdir(parents=True)
    (folder / "token").write_text(token(number))
    config = {
        "name": "gateway",
        "community": f"c{number}",
        "spool": str(folder / "spool.db"),
        "token_file": str(folder / "token"),
        "servers": [f"http://{running.edge[0]}:{running.edge[1]}"],
        "listen": {"host": "127.0.0.1", "port": 1},
        "cameras": [],
        "gates": [],
    }
    path = folder / "gateway.json"
    path.write_text(json.dumps(config))
    return path


async def one(config: Path, have: Path, number: int, serial: int, rate: int) -> tuple[Fetched, float]:
    """Let one gateway fetch; return what crossed the line, and the seconds that it took."""
    began = time.monotonic()
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "parkmesh", "gateway", "fetch-release", "--config", str(config)),
        *(f"--number={serial}", f"--have={have}", f"--rate={rate}"),
        stdout=asyncio.subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(ROOT / "app/src")},
    )
    said, _ = await process.communicate()
    if process.returncode:
        raise SystemExit(f"gateway {number} could not fetch")
    return Fetched(**json.loads(said)), time.monotonic() - began


async def fleet(base: Database, running: Server, folder: Path, have: Path, options: Any, serial: int) -> Round:
    """Let all gateways fetch at once."""
    configs = [configured(folder / str(number), running, number) for number in range(1, options.gateways + 1)]
    before, before_database, began = running.cpu_s(), base.cpu_s(), time.monotonic()
    done = await asyncio.gather(
        *(one(config, have, number, serial, options.rate) for number, config in enumerate(configs, 1))
    )
    return Round(
        [fetched for fetched, _ in done],
        [seconds for _, seconds in done],
        time.monotonic() - began,
        running.cpu_s() - before,
        base.cpu_s() - before_database,
    )


def tell(name: str, found: Round, options: Any) -> None:
    """Print a round's figures, and what they make for the fleet that is planned."""
    count = len(found.fetched)
    size = sum(one.manifest_bytes + one.part_bytes for one in found.fetched) / count
    each = found.fetched[0]
    report(f"{name}: files fetched, of {each.files}", each.parts, "files")
    report(f"{name}: bytes of each gateway (of these the manifest {each.manifest_bytes})", size, "bytes")
    report(f"{name}: seconds of a gateway, median", quantile(found.seconds, 0.5), "s")
    report(f"{name}: seconds of a gateway, slowest", max(found.seconds), "s")
    report(f"{name}: seconds until all {count} had it", found.wall_s, "s")
    cpu_ms = found.server_s / count * 1000
    report(f"{name}: the server's CPU for each gateway", cpu_ms, "ms")
    report(f"{name}: PostgreSQL's CPU for each gateway", found.database_s / count * 1000, "ms")
    cpu_s = options.fleet * cpu_ms / 1000 / options.servers
    at_once = edge_releases.AT_ONCE * options.servers
    line_s = options.fleet * size / (at_once * LINE_BYTES_S)
    print(
        f"  {options.fleet} gateways x {size:.0f} bytes = {options.fleet * size / 1e9:.2f} GB\n"
        f"  CPU of {options.servers} servers, each: "
        f"{options.fleet} x {cpu_ms:.1f} ms / {options.servers} = {cpu_s:.0f} s\n"
        f"  lines of 1 Mbit/s, {edge_releases.AT_ONCE} downloads at once on each server: "
        f"{options.fleet} x {size:.0f} / ({at_once} x {LINE_BYTES_S:.0f} bytes/s) = {line_s / 60:.1f} min"
    )


def take(archive: Path, release: str, have: Path, folder: Path) -> None:
    """Let the root program take a fetched release in a folder; the trial itself isn't run."""
    key = signing.Ed25519PrivateKey.generate()
    document = signing.sign(key, archive, release, "3.13", platform.machine(), 1)
    inbox = folder / "var/lib/parkmesh/pull"
    (inbox / "parts").mkdir(parents=True)
    for name, member in (("manifest.z", "manifest"), ("signature", "signature")):
        (inbox / name).write_bytes(base64.b64decode(document[member]))
    for part in document["parts"]:
        (inbox / "parts" / part["sha256"]).write_bytes(base64.b64decode(part["content"]))
    (inbox / "ready").write_text("1")
    (folder / "opt/parkmesh/releases").mkdir(parents=True)
    (folder / "opt/parkmesh/current").symlink_to(have)
    for place in pull.FILES.values():
        (folder / place).parent.mkdir(parents=True, exist_ok=True)
        (folder / place).write_text("")
    (folder / "etc/parkmesh/release.pub").write_text(signing.public_key(key))

    def run(command: Any) -> Any:
        if "parkmesh-rollout" in command[0]:
            return subprocess.CompletedProcess(command, 0, '{"result": "kept", "reasons": []}', "")
        return pull.run(command)

    began = time.monotonic()
    outcome = pull.Pull(folder, run, here=("3.13", platform.machine())).take(50, 10)
    assert outcome["result"] == "kept", outcome
    report("root: signature, digests, folder and compiled modules of one", time.monotonic() - began, "s")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--gateways", type=int, default=50)
    parser.add_argument("--rate", type=int, default=256 * 1024, help="bytes per second of each; 0: no bound")
    parser.add_argument("--changed", type=int, default=12, help="modules that differ")
    parser.add_argument("--fleet", type=int, default=10_000)
    parser.add_argument("--servers", type=int, default=4)
    options = parser.parse_args()
    archive, release = built()
    report("the archive that a push copies", archive.stat().st_size / 1e6, "MB")
    document = signing.sign(
        signing.Ed25519PrivateKey.generate(), archive, release, "3.13", platform.machine(), serial=1
    )
    scratch = Path(tempfile.mkdtemp(prefix="parkmesh-fleet-"))
    try:
        before = running_release(archive, scratch / "before", options.changed)
        same = running_release(archive, scratch / "same", 0)
        (scratch / "nothing").mkdir()
        with postgres() as base, server(base) as running:
            asyncio.run(seed(base, options.gateways))
            asyncio.run(publish(base, document, options.gateways))
            for name, have in (("whole", scratch / "nothing"), ("changed", before), ("same", same)):
                tell(name, asyncio.run(fleet(base, running, scratch / f"fleet-{name}", have, options, 1)), options)
            report("the server's memory afterwards", running.rss_mb(), "MB")
        take(archive, release, before, scratch / "root")
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


if __name__ == "__main__":
    main()
