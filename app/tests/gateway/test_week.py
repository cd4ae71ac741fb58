"""Some hours of the week without a line (``week.py``); ``make drills`` does the whole week."""

import asyncio
import shutil
import subprocess
from pathlib import Path

import pytest
import week

if subprocess.run(["unshare", "-rm", "true"], check=False, capture_output=True).returncode:
    pytest.skip("no disk can be mounted here", allow_module_level=True)
if shutil.which("mosquitto", path="/usr/bin:/usr/sbin") is None:
    pytest.skip("there is no mosquitto here", allow_module_level=True)

SEED = 3
"""The same hours everywhere; the drills try others."""


def test_hours_without_a_line_lose_and_double_nothing(tmp_path: Path) -> None:
    with week.postgres() as base, week.server(base) as target:
        asyncio.run(week.drill(tmp_path, base, target.edge, days=0.09, plates=500, states=4, seed=SEED))
