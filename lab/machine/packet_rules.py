"""The lab's own tables of nftables on this machine: replaced as a whole, removed with the lab."""

import json
import shutil
import subprocess

from lab.machine.errors import LabError
from lab.machine.names import Lab

TIMEOUT_S = 10


def table_name(lab: Lab, part: str = "vpc") -> str:
    return f"parkmesh_{lab.id}_{part}".replace("-", "_")


def load(rules: str) -> None:
    """Load a file for ``nft``. Raises LabError with nft's first line."""
    _nft("--file", "-", text=rules)


def remove(lab: Lab, part: str = "") -> None:
    """Remove one of the lab's tables, or all; there may be none."""
    if shutil.which("nft") is None:
        return
    tables = [row["table"] for row in json.loads(_nft("--json", "list", "tables"))["nftables"] if "table" in row]
    for table in tables:
        if table["family"] == "ip" and table["name"].startswith(table_name(lab, part)):
            _nft("delete", "table", "ip", table["name"])


def _nft(*arguments: str, text: str | None = None) -> str:
    done = subprocess.run(
        ["nft", *arguments], input=text, capture_output=True, text=True, timeout=TIMEOUT_S, check=False
    )
    if done.returncode:
        raise LabError(f"nft: {(done.stderr.strip() or 'no output').splitlines()[0]}")
    return done.stdout
