"""A Python for Ansible's modules: forks for each client and runs the program that it has as its input.

Usage: modules.py SOCKET FOLDER; prints "ready", keeps compiled code in the folder, and ends with its input.
"""

import contextlib
import hashlib
import importlib
import importlib.util
import marshal
import os
import pkgutil
import sys
import types
import zipimport
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path

from forking import end_at_once, serve
from services import import_boto3

# What Ansible's own part of a module imports from elsewhere, besides what boto3 does.
WHAT_ALL_IMPORT = ("argparse", "ctypes", "distro", "encodings.idna", "packaging.version", "runpy", "syslog")
# Ansible's own part, where it is to be found: the same files as a module brings with it.
ANSIBLE_S = ("_internal._ansiballz._loader", "basic", "common.respawn", "parsing.convert_bool", "service", "urls")
COLLECTIONS_S = ("amazon.aws", "community.aws")


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


class OfTheModule:
    """Finds the rest of Ansible in what the module brings, which is first on the path: also what is the project's."""

    @staticmethod
    def find_spec(name: str, path: object = None, target: types.ModuleType | None = None) -> ModuleSpec | None:
        package, _, last = name.rpartition(".")
        if not last or name.partition(".")[0] not in {"ansible", "ansible_collections"}:
            return None
        return PathFinder.find_spec(name, [f"{sys.path[0]}/{package.replace('.', '/')}"], target)


def import_ansible() -> None:
    """Import what modules bring of Ansible, from where it is installed or was laid beside this file."""
    for name in ANSIBLE_S:
        importlib.import_module(f"ansible.module_utils.{name}")
    if importlib.util.find_spec("ansible_collections"):
        for collection in COLLECTIONS_S:
            package = importlib.import_module(f"ansible_collections.{collection}.plugins.module_utils")
            for found in pkgutil.iter_modules(package.__path__, f"{package.__name__}."):
                # Some want libraries that aren't here.
                with contextlib.suppress(ImportError):
                    importlib.import_module(found.name)


def run_input() -> None:
    """Run the program in the standard input, as the only thing that this process ever was."""
    main = types.ModuleType("__main__")
    sys.meta_path.insert(0, OfTheModule)
    sys.modules["__main__"], sys.argv = main, [""]
    exec(compile(sys.stdin.buffer.read(), "<stdin>", "exec"), main.__dict__)  # noqa: S102 - this is what it is for


def main() -> None:
    address, folder = sys.argv[1:]
    CompiledOnce.folder = Path(folder)
    CompiledOnce.folder.mkdir()
    sys.path_hooks.insert(0, CompiledOnce)
    # A host has Python's own alone.
    if importlib.util.find_spec("boto3"):
        import_boto3()
    for name in WHAT_ALL_IMPORT:
        if importlib.util.find_spec(name.partition(".")[0]):
            importlib.import_module(name)
    import_ansible()
    if serve(address):
        end_at_once(run_input)


if __name__ == "__main__":
    main()
