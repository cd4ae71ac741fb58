"""The lab's own table of nftables on this machine: replaced as a whole, removed with the lab."""

import subprocess

from lab.machine.errors import LabError
from lab.machine.names import Lab

TIMEOUT_S = 10


def table_name(lab: Lab) -> str:
    return f"parkmesh_{lab.id.replace('-', '_')}"


def load(rules: str) -> None:
    """Load a file for ``nft``. Raises LabError with nft's first line."""
    done = subprocess.run(
        ["nft", "--file", "-"], input=rules, capture_output=True, text=True, timeout=TIMEOUT_S, check=False
    )
    if done.returncode:
        raise LabError(f"nft: {(done.stderr.strip() or 'no output').splitlines()[0]}")


def remove(lab: Lab) -> None:
    """Remove the table; there may be none."""
    load(f"add table ip {table_name(lab)}\ndelete table ip {table_name(lab)}\n")
