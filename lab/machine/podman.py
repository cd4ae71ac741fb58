"""podman as the lab uses it: one call with a time-out, JSON answers, errors that carry podman's own words.

Secrets go in through standard input only; arguments and environment of a container can be read by every user who may
ask podman.
"""

import json
import os
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from lab.machine.errors import LabError

REASON_LINES = 4


class PodmanError(LabError):
    """A podman call failed or took too long."""


@dataclass(frozen=True)
class Container:
    """One row of `podman ps --all`. `pid` is 0 while it does not run."""

    id: str
    name: str
    running: bool
    pid: int
    image: str
    labels: Mapping[str, str] = field(default_factory=dict)


class Podman:
    """Calls podman with one environment (`CONTAINERS_CONF` where the machine needs it)."""

    def __init__(self, environment: Mapping[str, str] | None = None, program: str = "podman") -> None:
        self.environment = dict(os.environ if environment is None else environment)
        self.program = program

    def run(
        self, *arguments: str, text: str | None = None, timeout: float = 60, quiet_codes: Sequence[int] = (0,)
    ) -> str:
        """Run podman and return its standard output.

        Args:
            arguments: what follows `podman`.
            text: standard input.
            timeout: seconds until the call is given up.
            quiet_codes: exit codes that are not an error.

        Raises:
            PodmanError: other exit code, time-out, or podman is not installed.
        """
        call = f"podman {' '.join(arguments[:2])}"
        try:
            done = subprocess.run(
                [self.program, *arguments],
                input=text,
                stdin=subprocess.DEVNULL if text is None else None,
                capture_output=True,
                text=True,
                errors="replace",
                timeout=timeout,
                env=self.environment,
                check=False,
            )
        except subprocess.TimeoutExpired as error:
            raise PodmanError(f"{call} … gave no answer within {timeout:.0f} s") from error
        except FileNotFoundError as error:
            raise PodmanError("podman is not installed: apt-get install podman") from error
        if done.returncode not in quiet_codes:
            reason = " / ".join(
                (done.stderr.strip() or done.stdout.strip() or "no output").splitlines()[-REASON_LINES:]
            )
            raise PodmanError(f"{call} … failed with code {done.returncode}: {reason}")
        return done.stdout

    def json(self, *arguments: str, timeout: float = 60) -> Any:
        answer = self.run(*arguments, "--format", "json", timeout=timeout).strip()
        return json.loads(answer) if answer else []

    def containers(self, label: str) -> list[Container]:
        """All containers with a label `key=value`, running or not."""
        rows = self.json("ps", "--all", "--filter", f"label={label}")
        return [
            Container(
                id=row["Id"],
                name=row["Names"][0],
                # Until a container that is being stopped has ended, its processes run.
                running=row["State"] in ("running", "stopping"),
                pid=int(row.get("Pid") or 0),
                image=row.get("Image", ""),
                labels=row.get("Labels") or {},
            )
            for row in rows
        ]

    def exists(self, kind: str, name: str) -> bool:
        """Whether a container, image, volume or network of this name exists."""
        try:
            self.run(kind, "exists", name)
        except PodmanError as error:
            if "failed with code 1:" in str(error):
                return False
            raise
        return True

    def shell(self, container: str, script: str, timeout: float = 60) -> str:
        """Run a shell script, given on standard input, inside a container as root."""
        return self.run("exec", "--interactive", container, "/bin/sh", "-eu", "-s", text=script, timeout=timeout)
