"""`ansible-doc` prints the manual of every module, plugin and role of the project, without a complaint."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from .conftest import ROOT

FOLDERS = {
    "module": ("library", "*.py"),
    "inventory": ("inventory_plugins", "*.py"),
    # A filter's manual is a file of its own.
    "filter": ("filter_plugins", "*.yml"),
    "role": ("roles", "*"),
}
# Of Ansible's own files, whatever is asked for.
NOISE = re.compile(r"^\[WARNING\]: Collection at '\S+/_protomatter' does not have a MANIFEST\.json.*\n", re.MULTILINE)


@pytest.mark.parametrize("kind", FOLDERS)
def test_manuals_can_be_read(kind: str) -> None:
    folder, pattern = FOLDERS[kind]
    names = {path.stem for path in (ROOT / folder).glob(pattern)}
    done = subprocess.run(
        [str(Path(sys.executable).with_name("ansible-doc")), "--type", kind, *names],
        cwd=ROOT,
        env={**os.environ, "ANSIBLE_NOCOLOR": "1", "COLUMNS": "300"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, NOISE.sub("", done.stderr)) == (0, "")
    manuals = re.split(r"^> [A-Z]+:? ", done.stdout, flags=re.MULTILINE)[1:]
    assert {manual.split()[0].strip("*") for manual in manuals} == names
    # What a reader looks for first.
    wanted = {"role": ("ENTRY POINT:", "Options (")}.get(kind, ("OPTIONS ", "EXAMPLES:"))
    assert [manual.split()[0] for manual in manuals if not all(word in manual for word in wanted)] == []
