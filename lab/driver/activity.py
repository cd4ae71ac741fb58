"""Says when the lab may have changed: a request wrote, the AWS API acted by itself, a container came or went.

The driver waits for that. Reading all records and listing all containers each second would cost a twentieth of a core
for as long as a lab stands.
"""

import logging
import subprocess
import threading
from collections.abc import Callable
from typing import Any

from moto.core.responses import BaseResponse

from lab.machine.podman import Podman

log = logging.getLogger(__name__)

READING = ("Describe", "Get", "List", "Head", "AssumeRole")
UNREAD = ("dynamodb", "cloudwatch")
"""Services whose records make no difference to containers. Hosts ask them all the time."""
EVENTS = ("create", "start", "died", "stop", "remove", "pause", "unpause")
RESTART_S = 5.0


class Activity:
    """``records`` and ``containers`` count what may have changed them; ``changed`` is set with each."""

    def __init__(self) -> None:
        self.records = 0
        self.containers = 0
        self.changed = threading.Event()

    def acted(self) -> None:
        """The records may be others than before."""
        self.records += 1
        self.changed.set()

    def moved(self) -> None:
        """The containers may be others than before."""
        self.containers += 1
        self.changed.set()

    def watch_requests(self) -> None:
        """Note every request of this process whose action isn't known to only read; once."""
        call_action = BaseResponse.call_action

        def counted(response: Any) -> Any:
            try:
                return call_action(response)
            finally:
                # An action that can't be named counts: reading once too often does no harm.
                read = str(response._get_action() or "").startswith(READING)
                if not read and response.service_name not in UNREAD:
                    self.acted()

        BaseResponse.call_action = counted


class ContainerEvents:
    """podman's own events of a lab's containers, as long as this lives."""

    def __init__(self, podman: Podman, label: str, noted: Callable[[], None]) -> None:
        self._command = [
            "podman",
            "events",
            "--format={{.Status}}",
            "--filter=type=container",
            f"--filter=label={label}",
            *(f"--filter=event={event}" for event in EVENTS),
        ]
        self._environment, self._noted = podman.environment, noted
        self._ended = threading.Event()
        self._process: subprocess.Popen[str] | None = None
        threading.Thread(target=self._follow, name="container-events", daemon=True).start()

    def _follow(self) -> None:
        while not self._ended.is_set():
            self._process = subprocess.Popen(
                self._command, env=self._environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
            )
            assert self._process.stdout is not None
            # Containers may have come or gone before this process listened.
            self._noted()
            for _ in self._process.stdout:
                self._noted()
            self._process.wait()
            if not self._ended.wait(RESTART_S):
                log.warning("podman events ended with %s; listening again", self._process.returncode)

    def close(self) -> None:
        """Stop listening."""
        self._ended.set()
        if self._process is not None:
            self._process.terminate()
