"""What instances do: their processors' use by the kernel's account of their containers, and the requests that load
balancers sent them, in periods as CloudWatch has them."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from lab.aws.scaling import Measured

CGROUPS = Path("/sys/fs/cgroup")


def busy_s(pid: int, proc: Path = Path("/proc"), cgroups: Path = CGROUPS) -> float:
    """Seconds of processor time that a container's processes have used; ``pid`` is its init.

    Raises:
        OSError: it has ended.
    """
    for line in (proc / str(pid) / "cgroup").read_text().splitlines():
        _, controllers, path = line.split(":", 2)
        if "cpuacct" in controllers.split(","):
            return int((cgroups / "cpuacct" / path.strip("/") / "cpuacct.usage").read_text()) / 1e9
        unified = path.strip("/").removesuffix("init.scope")
    used = (cgroups / unified / "cpu.stat").read_text()
    return int(dict(row.split() for row in used.splitlines())["usage_usec"]) / 1e6


@dataclass
class Periods:
    """Turns counters into figures of periods of ``period_s`` seconds."""

    period_s: float
    processors: int = field(default_factory=lambda: os.cpu_count() or 1)
    _began: float | None = None
    _before: dict[str, tuple[float, int]] = field(default_factory=dict)

    def over(self, now: float) -> bool:
        """Whether a period has passed."""
        return self._began is None or now - self._began >= self.period_s

    def close(self, counters: Mapping[str, tuple[float, int]], now: float) -> dict[str, Measured]:
        """End a period: instance id → what it did in it. ``counters``: id → (seconds of processor time, requests).

        Instances that weren't there when it began are left out.
        """
        took = now - self._began if self._began is not None else 0.0
        found = {
            instance: Measured(
                cpu_percent=100 * (busy - self._before[instance][0]) / took / self.processors,
                requests=(requests - self._before[instance][1]) * 60 / took,
            )
            for instance, (busy, requests) in counters.items()
            if instance in self._before
        }
        self._began, self._before = now, dict(counters)
        return found
