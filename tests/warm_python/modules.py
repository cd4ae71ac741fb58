"""A Python for Ansible's modules: forks for each client and runs the program that it has as its input.

Usage: modules.py SOCKET FOLDER; prints "ready", keeps compiled code in the folder, and ends with its input.
"""

import hashlib
import importlib
import marshal
import os
import sys
import types
import zipimport
from pathlib import Path

from forking import serve
from services import import_boto3

# What Ansible's own part of a module imports from elsewhere, besides what boto3 does.
WHAT_ALL_IMPORT = ("argparse", "ctypes", "distro", "encodings.idna", "packaging.version", "runpy", "syslog")


class CompiledOnce(zipimport.zipimporter):
    """Imports from a ZIP archive as Python does, but keeps what it compiled, by the hash of its source."""

    folder: Path

    def get_filename(self, fullname: str) -> str:
        """Return where a module's code is in the archive. Python's own compiles the module to tell."""
        path = f"{self.archive}{os.sep}{self.prefix}{fullname.rpartition('.')[2]}"
        return f"{path}{os.sep}__init__.py" if self.is_package(fullname) else f"{path}.py"

    def get_code(self, fullname: str) -> types.CodeType:
        source = self.get_source(fullname)
        assert source is not None, fullname
        kept = self.folder / hashlib.sha256(source.encode()).hexdigest()
        if kept.exists():
            code: types.CodeType = marshal.loads(kept.read_bytes())  # noqa: S302 - written below
            return code
        code = compile(source, self.get_filename(fullname), "exec", dont_inherit=True)
        written = kept.with_suffix(f".{os.getpid()}")
        written.write_bytes(marshal.dumps(code))
        written.rename(kept)
        return code


def run_input() -> None:
    """Run the program in the standard input, as the only thing that this process ever was."""
    main = types.ModuleType("__main__")
    sys.modules["__main__"], sys.argv = main, [""]
    exec(compile(sys.stdin.buffer.read(), "<stdin>", "exec"), main.__dict__)  # noqa: S102 - this is what it is for


def main() -> None:
    address, folder = sys.argv[1:]
    CompiledOnce.folder = Path(folder)
    CompiledOnce.folder.mkdir()
    sys.path_hooks.insert(0, CompiledOnce)
    import_boto3()
    for name in WHAT_ALL_IMPORT:
        importlib.import_module(name)
    if serve(address):
        run_input()


if __name__ == "__main__":
    main()
