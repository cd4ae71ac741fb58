"""Backups of the lab's databases: what their shell says. What it does is tested in whole/test_database_backups.py."""

import subprocess

import pytest

from lab.driver import backups
from lab.driver.databases import cluster_script


@pytest.mark.parametrize(
    "origin", [(), ("snapshot", "db-1-final"), ("moment", "db-1", "2026-11-29T14:05:00Z"), ("snapshot", "it's odd")]
)
def test_the_script_of_a_cluster_is_shell(origin: tuple[str, ...]) -> None:
    script = cluster_script(5432, "db-2", origin)
    subprocess.run(["/bin/sh", "-n"], input=script, text=True, check=True)
    assert "/var/lib/backups/wal/db-2" in script


def test_a_moment_is_said_in_postgresql_s_words() -> None:
    script = backups.fill(("moment", "db-1", "2026-11-29T15:05:00+01:00"))
    assert "recovery_target_time = '2026-11-29 14:05:00+00:00'" in script
    assert "restore_command = 'cp /var/lib/backups/wal/db-1/%f %p'" in script
    assert "recovery_target" not in backups.fill(("snapshot", "s"))


def test_only_a_snapshot_is_made_again() -> None:
    assert "exit 0" in backups.backup("base", "db-1", 5432, again=False)
    assert "exit 0" not in backups.backup("snapshots", "s", 5432, again=True)


def test_an_unknown_origin_is_an_error() -> None:
    with pytest.raises(ValueError, match="nothing is restored from"):
        backups.fill(("tape", "7"))
