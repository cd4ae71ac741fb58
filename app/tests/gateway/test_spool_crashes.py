"""A few crashes of a spool at system calls of its write path; ``make drills`` does many."""

import shutil
from pathlib import Path

import pytest
import spool_crashes
from parkmesh.gateway.spool import Spool
from spool_records import NOW, passage

if shutil.which("cc") is None:
    pytest.skip("nothing here compiles C", allow_module_level=True)


SEED = 4711
"""The same crashes everywhere; the drills try others."""


@pytest.mark.parametrize(("crashes", "damaged"), [(200, False), (100, True)], ids=["crashed", "damaged"])
def test_a_crash_anywhere_loses_and_doubles_nothing(crashes: int, damaged: bool) -> None:
    seen = spool_crashes.crash(SEED, crashes, damaged=damaged)
    assert seen["answered messages"] > crashes, "hardly anything was at stake"


def test_a_disk_that_is_full_while_the_first_spool_is_made_keeps_nothing_from_starting(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "spool.db", now=NOW)
    spool._db.execute("DELETE FROM meta")
    spool._go_to_memory("full", NOW + 1)
    spool.append(passage(1))
    assert len(spool.batch(10)) == 1
    spool.close()
