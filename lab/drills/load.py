"""What people ask and cars do while a drill runs, and the ledger of what they were answered."""

import json
import re
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

from lab.drills.standing import REQUEST_S, StandingLab, until
from lab.machine.names import Lab

SITE = "/run/drill-site.json"
CAR = re.compile(r"(\S+) at cam-\S+")
"""What the simulator prints of a car that the gateway has answered (parkmesh.simulator.traffic)."""


@dataclass(frozen=True)
class Request:
    """A person's: when it began (monotonic), how long it took, and why it wasn't answered, if so."""

    began: float
    took: float
    problem: str

    @property
    def well(self) -> bool:
        return not self.problem


@dataclass
class Person:
    """Asks (OSError: refused), waits, asks again. A drill may have them wait for another time."""

    ask: Callable[[], object]
    pause_s: float


@dataclass
class Load:
    """What was asked and answered while the drill ran. ``cars`` are the plates that the gateway accepted, ``known`` the
    database's passages from before: the same seed has the same cars come again."""

    requests: list[Request] = field(default_factory=list)
    cars: list[str] = field(default_factory=list)
    known: Counter[str] = field(default_factory=Counter)

    def refused(self) -> list[Request]:
        return sorted((each for each in self.requests if not each.well), key=lambda each: each.began)

    def unkept(self, rows: Counter[str]) -> list[str]:
        """What is wrong with the passages of cars that were answered, a line for each."""
        return [
            *(f"{plate} was answered and isn't in the database" for plate in self.missing(rows)),
            *(f"{plate} is {rows[plate]} times in the database" for plate in self.doubled(rows)),
        ]

    def missing(self, rows: Counter[str]) -> list[str]:
        """Plates of cars that were answered and have no passage among the database's."""
        return [plate for plate in dict.fromkeys(self.cars) if rows[plate] < 1]

    def doubled(self, rows: Counter[str]) -> list[str]:
        """Plates of cars that were answered and have more than one passage."""
        return [plate for plate in dict.fromkeys(self.cars) if rows[plate] > 1]


class LoadedLab(StandingLab):
    """A lab to which people and cars come, as a seed chooses."""

    def __init__(self, lab: Lab, seed: int, cars_per_minute: int) -> None:
        super().__init__(lab)
        self.seed, self.cars_per_minute = seed, cars_per_minute
        # Without communities nobody has an account.
        if cars_per_minute:
            self.sign_in()


def reader(standing: StandingLab, pause_s: float, within_s: float = REQUEST_S) -> Person:
    """Reads a community's spaces, or the sign-in page where nobody has signed in."""
    path = "/api/v1/communities/a/spaces" if standing.token else "/"
    return Person(lambda: standing.ask("GET", path, within_s=within_s), pause_s)


def delivered(standing: StandingLab, found: Load) -> Counter[str]:
    """The database's new passages of each plate, when gateway a has sent those of the cars."""
    if found.cars:
        until(lambda: standing.told("gateway-a"), "an empty backlog of gateway-a")
    return standing.passages() - found.known


@contextmanager
def load(standing: StandingLab, people: Sequence[Person], cars_per_minute: int, seed: int) -> Iterator[Load]:
    """People ask until the block ends, and cameras of community a post cars that nobody knows, each with a plate of its
    own (0 a minute: none)."""
    found, ended = Load(known=standing.passages()), threading.Event()
    threads = [threading.Thread(target=_live, args=(found, person, ended)) for person in people]
    cameras = _cameras(standing, cars_per_minute, seed) if cars_per_minute else None
    if cameras is not None:
        threads.append(threading.Thread(target=_note, args=(found, cameras)))
    for thread in threads:
        thread.start()
    try:
        yield found
    finally:
        ended.set()
        if cameras is not None:
            # The signal is for the process in the container: podman passes none on.
            standing.podman.shell(standing.lab.thing("devices-a"), "pkill -TERM -f '[d]rill-site' || true")
            cameras.wait(timeout=30)
        for thread in threads:
            thread.join()


def _live(found: Load, person: Person, ended: threading.Event) -> None:
    while not ended.wait(person.pause_s):
        began, problem = time.monotonic(), ""
        try:
            person.ask()
        except OSError as error:
            problem = str(error) or type(error).__name__
        found.requests.append(Request(began, time.monotonic() - began, problem))


def _cameras(standing: StandingLab, cars_per_minute: int, seed: int) -> "subprocess.Popen[str]":
    host = standing.lab.thing("devices-a")
    site = json.loads(standing.podman.shell(host, "cat /etc/parkmesh/site.json"))
    site |= {"relays": [], "sensors": [], "plates": []}
    site["cameras"] = [{**each, "relay": None} for each in site["cameras"]]
    standing.podman.shell(host, f"cat > {SITE} <<'E'\n{json.dumps(site)}\nE")
    command = f"parkmesh simulate site --site {SITE} --cars {cars_per_minute} --sensors 0 --seed {seed}"
    return subprocess.Popen(
        [standing.podman.program, "exec", host, *command.split()],
        stdout=subprocess.PIPE,
        text=True,
        env=standing.podman.environment,
    )


def _note(found: Load, cameras: "subprocess.Popen[str]") -> None:
    assert cameras.stdout is not None
    for line in cameras.stdout:
        if car := CAR.fullmatch(line.strip()):
            found.cars.append(car[1])
