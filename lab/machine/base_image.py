"""The image that every container of a lab starts from, built from Debian packages alone.

mmdebstrap makes a minimal Debian, `podman import` turns it into an image, and the Containerfile adds systemd and the
packages that the roles install. Both results are named after a hash of what they are made from: a second run finds them
at once, and clones at different commits keep their own. The archive stays in the clone's cache.
"""

import fcntl
import hashlib
import os
import platform
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from lab.machine.errors import LabError
from lab.machine.names import BASE_LABEL, Lab
from lab.machine.podman import Podman
from lab.machine.progress import step

CONTAINERFILE = Path(__file__).resolve().parent / "Containerfile"
INCLUDE = "ca-certificates"
DEFAULT_MIRROR = "http://deb.debian.org/debian"
DEFAULT_SECURITY_MIRROR = "http://deb.debian.org/debian-security"
BUILD_TIMEOUT_S = 1200
LOCK = Path("/run/lock/parkmesh-base.lock")


def sources(suite: str, mirror: str, security_mirror: str) -> str:
    """The package sources inside the image: the release with its updates and security fixes."""
    return (
        f"deb {mirror} {suite} main\ndeb {mirror} {suite}-updates main\ndeb {security_mirror} {suite}-security main\n"
    )


def content_hash(*parts: str) -> str:
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:12]


class BaseImage:
    """Names and builds the base image of a suite on this machine's architecture."""

    def __init__(self, lab: Lab, podman: Podman) -> None:
        self.lab, self.podman = lab, podman
        mirror = os.environ.get("LAB_DEBIAN_MIRROR") or DEFAULT_MIRROR
        security = os.environ.get("LAB_DEBIAN_SECURITY_MIRROR") or DEFAULT_SECURITY_MIRROR
        self.sources = sources(lab.suite, mirror, security)
        machine = platform.machine()
        debian = content_hash(machine, lab.suite, self.sources, INCLUDE)
        self.hash = content_hash(debian, CONTAINERFILE.read_text())
        # Names under localhost only: an image that was pulled under a public name is never replaced.
        self.debian = f"localhost/parkmesh-debian:{lab.suite}-{debian}"
        self.name = f"localhost/parkmesh-base:{lab.suite}-{self.hash}"
        self.archive = lab.cache / f"debian-{lab.suite}-{machine}-{debian}.tar"

    def ready(self) -> bool:
        return self.podman.exists("image", self.name)

    def ensure(self) -> None:
        """Build what is missing. Labs that start together build once."""
        if self.ready():
            return
        self.lab.cache.mkdir(parents=True, exist_ok=True)
        (self.lab.cache / "context").mkdir(exist_ok=True)
        with _builder(wait=True):
            if self.ready():
                return
            _remove_abandoned(self.podman)
            if not self.podman.exists("image", self.debian):
                if not self.archive.exists():
                    with step(f"making a minimal Debian {self.lab.suite} from packages (about 30 s)"):
                        self._bootstrap()
                with step("importing it into podman"):
                    self.podman.run(
                        "import",
                        "--change",
                        f"LABEL {BASE_LABEL}={self.hash}",
                        str(self.archive),
                        self.debian,
                        timeout=BUILD_TIMEOUT_S,
                    )
            with step("building the base image (about 60 s)"):
                self._build()

    def _bootstrap(self) -> None:
        partial = self.archive.with_suffix(".partial.tar")
        command = ["mmdebstrap", "--variant=minbase", f"--include={INCLUDE}", self.lab.suite, str(partial), "-"]
        done = subprocess.run(
            command, input=self.sources, capture_output=True, text=True, timeout=BUILD_TIMEOUT_S, check=False
        )
        if done.returncode:
            partial.unlink(missing_ok=True)
            errors = [line for line in done.stderr.splitlines() if line.startswith(("E:", "Err:"))]
            reason = (errors or done.stderr.strip().splitlines() or ["no output"])[-1]
            raise LabError(f"mmdebstrap could not make Debian {self.lab.suite}: {reason}")
        partial.replace(self.archive)

    def _build(self) -> None:
        self.podman.run(
            "build",
            "--network=host",
            f"--build-arg=BASE={self.debian}",
            f"--label={BASE_LABEL}={self.hash}",
            f"--tag={self.name}",
            f"--file={CONTAINERFILE}",
            str(self.lab.cache / "context"),
            timeout=BUILD_TIMEOUT_S,
        )


def remove_abandoned_builds(podman: Podman) -> list[str]:
    """Remove what interrupted builds of the base image left behind, unless one is at work; returns their names."""
    with _builder(wait=False) as free:
        return _remove_abandoned(podman) if free else []


def _remove_abandoned(podman: Podman) -> list[str]:
    """Working containers of `podman build` on our images. No build is running: the caller holds the lock."""
    images = podman.json("images", "--all", "--filter", f"label={BASE_LABEL}")
    ours = {row["Id"] for row in images}
    rows = podman.json("ps", "--all", "--external")
    found = [row["Names"][0] for row in rows if row["State"] == "storage" and row["ImageID"] in ours]
    for name in found:
        podman.run("rm", "--force", name)
    return found


@contextmanager
def _builder(*, wait: bool) -> Iterator[bool]:
    """One build of a base image at a time on this machine. Yields False when another is at work and `wait` is off."""
    with LOCK.open("w") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError:
            yield False
            return
        yield True
