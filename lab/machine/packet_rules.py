"""The lab's own tables of nftables: on this machine, replaced as a whole and removed with the lab, and in the network
namespaces of its hosts."""

import ctypes
import json
import shutil
import subprocess
from functools import cache
from pathlib import Path

from lab.machine.errors import LabError
from lab.machine.names import Lab
from lab.machine.namespaces import in_namespace

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


class OwnedTable:
    """A table in the network namespace of a process that belongs to this process as long as it lives: whoever is root
    in the namespace can neither change nor flush it (nft(8), flag owner).

    nftables' own library does it, since the table belongs to the socket that made it, and ``nft`` ends with each
    command. Debian's binding to it is for the system's Python only.

    Args:
        pid: a process in the namespace.

    Raises:
        LabError: the process is gone.
    """

    def __init__(self, pid: int) -> None:
        self._namespace = Path(f"/proc/{pid}/ns/net")
        library = _library()
        try:
            self._inode = self._namespace.stat().st_ino
            # A socket belongs to the namespace in which it was made; the thread that enters it ends there.
            self._context = in_namespace(pid, lambda: library.nft_ctx_new(0))
        except OSError as error:
            raise LabError(f"no rules in the namespace of process {pid}: {error}") from error
        library.nft_ctx_buffer_output(self._context)
        library.nft_ctx_buffer_error(self._context)

    def is_there(self) -> bool:
        """Whether the process still is in this namespace."""
        try:
            return self._namespace.stat().st_ino == self._inode
        except OSError:
            return False

    def load(self, rules: str) -> None:
        """Carry out commands for ``nft``, all or none; what they print is dropped. Raises LabError with nft's first
        line."""
        library = _library()
        failed = library.nft_run_cmd_from_buffer(self._context, rules.encode())
        # Kept until it is asked for.
        library.nft_ctx_get_output_buffer(self._context)
        if failed:
            text = library.nft_ctx_get_error_buffer(self._context).decode(errors="replace").strip()
            raise LabError(f"nft: {(text or 'no output').splitlines()[0]}")

    def close(self) -> None:
        """Give the table up, which removes it. Nothing may be called afterwards."""
        _library().nft_ctx_free(self._context)


@cache
def _library() -> ctypes.CDLL:
    try:
        library = ctypes.CDLL("libnftables.so.1")
    except OSError as error:
        raise LabError("libnftables is missing; run: apt-get install nftables") from error
    library.nft_ctx_new.restype, library.nft_ctx_new.argtypes = ctypes.c_void_p, (ctypes.c_uint32,)
    for name in ("nft_ctx_free", "nft_ctx_buffer_output", "nft_ctx_buffer_error"):
        getattr(library, name).argtypes = (ctypes.c_void_p,)
    for name in ("nft_ctx_get_output_buffer", "nft_ctx_get_error_buffer"):
        getattr(library, name).argtypes = (ctypes.c_void_p,)
        getattr(library, name).restype = ctypes.c_char_p
    library.nft_run_cmd_from_buffer.argtypes = (ctypes.c_void_p, ctypes.c_char_p)
    return library


def _nft(*arguments: str, text: str | None = None) -> str:
    done = subprocess.run(
        ["nft", *arguments], input=text, capture_output=True, text=True, timeout=TIMEOUT_S, check=False
    )
    if done.returncode:
        raise LabError(f"nft: {(done.stderr.strip() or 'no output').splitlines()[0]}")
    return done.stdout
