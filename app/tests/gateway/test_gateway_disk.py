"""The gateway on a disk that is really full or read-only: the gate opens, and nothing is lost or shown as stored.

The disk is a small file system in memory, mounted in a namespace of the gateway's own.
"""

import shutil
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from edge_server import TOKEN, EdgeServer
from parkmesh.protocol.edge import AccessEntry, Gap, Passage
from parkmesh.simulator import camera, drive
from processes import GatewaySite, wait_for
from starlette.responses import Response

_CAN_MOUNT = (
    shutil.which("unshare") is not None
    and subprocess.run(
        ["unshare", "-rm", "mount", "-t", "tmpfs", "none", "/mnt"], capture_output=True, check=False
    ).returncode
    == 0
)
pytestmark = pytest.mark.skipif(not _CAN_MOUNT, reason="this machine lets nobody mount in a namespace of their own")


@pytest.fixture
def server() -> Iterator[EdgeServer]:
    with EdgeServer([AccessEntry("ana", "1234BCD", "active"), AccessEntry("bob", "5678FGH", "active")]) as running:
        yield running


@pytest.fixture
def site(server: EdgeServer, tmp_path: Path) -> Iterator[GatewaySite]:
    running = GatewaySite(tmp_path, [server.url], TOKEN)
    (tmp_path / "spool").mkdir()
    try:
        running.start_relay()
        yield running
    finally:
        running.stop()


def on_a_disk(site: GatewaySite, size: str, then: str = "true") -> list[str]:
    """Return the command that mounts a disk with what is in the spool's folder, runs ``then`` in it, and goes on."""
    script = f"""
        cp -a {site.folder}/spool {site.folder}/before && mount -t tmpfs -o size={size} disk {site.folder}/spool &&
        cp -a {site.folder}/before/. {site.folder}/spool/ && cd {site.folder}/spool && {then} && exec "$@"
    """
    return ["unshare", "-rm", "sh", "-c", script, "sh"]


def disk(site: GatewaySite) -> Path:
    """Return the spool's folder as the gateway sees it."""
    assert site.gateway is not None
    return Path(f"/proc/{site.gateway.pid}/root{site.folder}/spool")


def fill(path: Path) -> None:
    with path.open("wb", buffering=0) as file:
        try:
            while True:
                file.write(b"x" * 4096)
        except OSError:
            return


def send(site: GatewaySite, plate: str) -> int:
    body, kind = camera.multipart(camera.shot(plate, drive.now()))
    url = f"http://127.0.0.1:{site.port}/cameras/cam-in/events"
    return httpx.post(url, content=body, headers={"Content-Type": kind}, timeout=10).status_code


def test_a_disk_that_fills_up_stops_no_gate(site: GatewaySite, server: EdgeServer) -> None:
    site.start_gateway(on_a_disk(site, "40m"))
    wait_for(lambda: site.status()["access_list_version"] == 1, "the access list")
    assert site.status()["storing"] == "disk"
    fill(disk(site) / "filler")
    # The first records have the room that was reserved.
    assert send(site, "1111XYZ") == 200
    assert site.status()["storing"] == "disk"
    assert not (disk(site) / "spool.db.reserve").exists()
    fill(disk(site) / "more")
    server.fault = lambda _: Response(status_code=503)
    plates = [f"{number * 1111:04d}" + letter * 3 for letter in "BFKP" for number in range(1, 10)]
    answers = [send(site, plate) for plate in plates]
    assert answers[-1] == 503, "a message that can't be stored is confirmed"
    assert send(site, "1234BCD") == 503
    wait_for(lambda: site.pulses() == 1, "the barrier, with a full disk")
    status = site.status()
    assert (status["storing"], "the disk is full" in status["disk_error"]) == ("memory", True)
    server.fault = lambda _: None
    everything = ["1111XYZ", *plates, "1234BCD"]
    wait_for(lambda: "1234BCD" in [p.plate for p in server.passages()], "what is in memory, at the server")
    (disk(site) / "filler").unlink()
    wait_for(lambda: site.status()["storing"] == "disk", "the disk again")
    assert send(site, "5678FGH") == 200
    wait_for(lambda: len(server.events) == len(everything) + 1, "everything at the server")
    assert sorted(p.plate for p in server.passages()) == sorted([*everything, "5678FGH"])
    assert not (disk(site) / "spool.db.in-memory").exists()
    assert site.status()["disk_error"] is None


READ_ONLY = ("40m", "mount -o remount,ro .")
FULL = ("8m", "(dd if=/dev/zero of=filler bs=4096 2>/dev/null; true)")


@pytest.mark.parametrize(
    ("size", "then", "end"),
    # After a kill -9 there is a log beside the spool, and a full disk still takes what fits into it.
    [(*READ_ONLY, signal.SIGTERM), (*READ_ONLY, signal.SIGKILL), (*FULL, signal.SIGTERM)],
    ids=["read-only", "read-only after kill -9", "full"],
)
def test_a_gateway_starts_on_a_disk_that_takes_nothing(
    site: GatewaySite, server: EdgeServer, size: str, then: str, end: signal.Signals
) -> None:
    first = site.start_gateway()
    wait_for(lambda: site.status()["access_list_version"] == 1, "the access list")
    assert send(site, "1111XYZ") == 200
    wait_for(lambda: len(server.events) == 1, "the first passage")
    first.stop(end)
    (site.folder / "spool" / "spool.db.reserve").unlink()
    server.fault = lambda _: Response(status_code=503)
    site.start_gateway(on_a_disk(site, size, then))
    assert site.status()["storing"] == "memory"
    assert site.status()["access_list_version"] == 1
    assert send(site, "1234BCD") == 503
    wait_for(lambda: site.pulses() == 1, "the barrier, by the last good list")
    server.fault = lambda _: None
    wait_for(lambda: len(server.passages()) == 2, "the passage, from memory")
    assert [p.plate for p in server.passages()] == ["1111XYZ", "1234BCD"]
    # The machine gets another disk, with what was on this one before.
    assert site.gateway is not None
    site.gateway.stop(signal.SIGKILL)
    site.start_gateway()
    assert send(site, "5678FGH") == 200
    wait_for(lambda: len(server.passages()) == 3, "the passage after it")
    told = [event for event in server.events if isinstance(event, Gap)]
    assert [event.plate for event in server.events if isinstance(event, Passage)] == ["1111XYZ", "1234BCD", "5678FGH"]
    assert [gap.kind for gap in told] == ["spool_put_back"], "what was only in memory isn't told"
