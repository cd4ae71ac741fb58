"""Snapshots, moments and failovers of the lab's databases, with PostgreSQL in containers: a copy has what its source
had then, and a standby what its primary had.

Needs root and podman; the containers are of a lab of its own, which is never up.
"""

import os
import shutil
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from lab.driver.cloud import Database, Records
from lab.driver.databases import Databases
from lab.machine import engine, names
from lab.machine.base_image import BaseImage

pytestmark = pytest.mark.skipif(
    os.geteuid() != 0 or shutil.which("podman") is None, reason="the lab needs root and podman"
)

NETWORK = "10.213.7.0/24"
SUBNETS = {"subnet-1": "10.213.7.0/25", "subnet-2": "10.213.7.128/25"}
PORT = 5432


class Server:
    """The lab's databases, as the daemon's rounds keep them."""

    def __init__(self, podman: Any, lab: Any, image: str) -> None:
        self.podman, self.lab, self.driver = podman, lab, Databases(lab, podman, image)
        self.records: dict[str, Database] = {}

    def add(self, name: str, origin: tuple[str, ...] = ()) -> None:
        self.records[name] = Database(
            name, f"{name}.example", PORT, "parkmesh", "parkmesh_owner", "throw-away", ("subnet-1",), origin
        )
        self.round()

    def move(self, name: str, zone: str, *failed_zones: str) -> str:
        """Another zone for the primary, and zones that have failed. Returns where the endpoint leads."""
        subnet = "subnet-2" if zone else "subnet-1"
        self.records[name] = replace(self.records[name], zone=zone, subnet_ids=(subnet,))
        self.round(*failed_zones)
        self.round(*failed_zones)
        return self.driver.endpoints.get(f"{name}.example", "")

    def remove(self, name: str) -> None:
        del self.records[name]
        self.round()

    def round(self, *failed_zones: str) -> None:
        databases = tuple(self.records.values())
        records = Records((), (), SUBNETS, databases, {}, (), {})
        self.driver.tick(records, self.podman.containers(self.lab.label), set(), frozenset(failed_zones))

    def ask(self, name: str, statements: str) -> list[str]:
        return self.driver._sql(self.driver.container(name), PORT, "parkmesh", statements).split()

    def numbers(self, name: str) -> list[str]:
        return self.ask(name, "SELECT number FROM note ORDER BY number;")

    def problem(self, name: str) -> str | None:
        return self.driver._problems.get(name)


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    lab = names.from_environment({"PARKMESH_LAB": "labbackups"})
    podman, _ = engine.podman_for(lab)
    image = BaseImage(lab, podman)
    image.ensure()
    network = lab.thing("vpc")
    try:
        podman.run("network", "create", f"--label={lab.label}", f"--subnet={NETWORK}", network)
        yield Server(podman, lab, image.name)
    finally:
        for container in podman.containers(lab.label):
            podman.run("rm", "--force", "--time=0", container.name)
        for row in podman.json("volume", "ls", "--filter", f"label={lab.label}"):
            podman.run("volume", "rm", "--force", row["Name"])
        podman.run("network", "rm", "--force", network)


def now() -> str:
    """The present second, with a pause on both sides, as commits and moments of whole seconds need."""
    time.sleep(1.1)
    moment = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    time.sleep(1.1)
    return moment


def test_a_copy_has_what_its_source_had_at_the_snapshot_or_the_moment(server: Server) -> None:
    server.add("first")
    server.ask("first", "CREATE TABLE note (number int); INSERT INTO note VALUES (1);")
    server.driver.snapshot_created("first", "one", PORT)
    server.ask("first", "INSERT INTO note VALUES (2);")
    moment = now()
    server.ask("first", "INSERT INTO note VALUES (3);")
    server.add("of", ("snapshot", "one"))
    server.add("at", ("moment", "first", moment))
    assert (server.numbers("of"), server.numbers("at")) == (["1"], ["1", "2"])
    # A copy is a database of its own, with moments of its own.
    server.ask("at", "INSERT INTO note VALUES (9);")
    server.add("later", ("moment", "at", now()))
    assert server.numbers("later") == ["1", "2", "9"]
    assert server.numbers("first") == ["1", "2", "3"]


def test_a_snapshot_outlives_its_database_and_the_backups_do_not(server: Server) -> None:
    server.remove("first")
    kept = server.podman.shell(server.driver.container("of"), "cd /var/lib/backups; ls base snapshots wal").split()
    assert "first" not in kept
    server.add("again", ("snapshot", "one"))
    assert server.numbers("again") == ["1"]


def test_what_there_is_no_backup_of_is_not_replaced_by_an_empty_database(server: Server) -> None:
    server.add("nothing", ("snapshot", "never-made"))
    assert "there is no backup /var/lib/backups/snapshots/never-made" in str(server.problem("nothing"))


def test_a_standby_has_what_was_committed_at_another_address_and_one_zone_alone_has_nobody_to_take_over(
    server: Server,
) -> None:
    before = server.move("again", "")
    server.ask("again", "INSERT INTO note VALUES (4);")
    after = server.move("again", "b", "a")
    assert after not in (before, "")
    assert server.numbers("again") == ["1", "4"]
    server.move("again", "b", "b")
    assert "has no standby" in str(server.problem("again"))
    server.round("b")
    assert not [
        each for each in server.podman.containers(server.lab.label) if each.name.endswith("db-again") and each.running
    ]
    assert server.move("again", "b") == after
    assert server.numbers("again") == ["1", "4"]
