#!/usr/bin/env python3
"""Lay the Ansible plugins out as a collection and run `ansible-test sanity --test validate-modules` on them.

The project's plugins lie in folders of their own beside the playbooks, where ansible-test finds nothing. A copy as the
collection parkmesh.overlay, with imports and names rewritten, is what it can read. By default its program validate.py
is run the way ansible-test runs it, in this Python's environment, so that nothing is downloaded; `--ansible-test` runs
ansible-test itself, which installs that program's requirements into an environment of its own.

Exits with 1 on any finding, 2 when the check couldn't run.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from importlib.metadata import version
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from scripts import changelog  # noqa: E402

NAMESPACE, NAME = "parkmesh", "overlay"
VERSION = changelog.version(changelog.VERSION_FILE.read_text(encoding="utf-8"))
COLLECTION = f"{NAMESPACE}.{NAME}"
FOLDERS = {
    "library": "modules",
    "module_utils": "module_utils",
    "inventory_plugins": "inventory",
    "filter_plugins": "filter",
    "action_plugins": "action",
    "callback_plugins": "callback",
    "doc_fragments": "doc_fragments",
}
# The kinds that validate-modules reads.
CHECKED = ("modules", "inventory", "callback")
# Ansible's own repository asks for this header; the project hasn't chosen a licence, and its plugins claim none.
IGNORED = "missing-gplv3-license"


def rewritten(text: str, modules: frozenset[str], utilities: frozenset[str], fragments: frozenset[str]) -> str:
    """A plugin's text with the project's own modules, module_utils and fragments by their names in the collection."""

    def imported(match: re.Match[str]) -> str:
        if match["name"] not in utilities:
            return match[0]
        package = f"ansible_collections.{COLLECTION}.plugins.module_utils"
        return f"from {package}{match['dot'] or ''}{'' if match['dot'] else ' import '}{match['name']}"

    text = re.sub(r"from ansible\.module_utils(?:(?P<dot>\.)| import )(?P<name>\w+)", imported, text)
    if modules:
        names = "|".join(sorted(modules))
        text = re.sub(rf"(M\(|- module: )({names})\b", rf"\1{COLLECTION}.\2", text)
    lines, in_fragments = [], False
    for line in text.splitlines(keepends=True):
        named = re.fullmatch(r"(extends_documentation_fragment:\s*|\s*- )([\w.]+)\s*", line)
        opens = line.startswith("extends_documentation_fragment:")
        in_fragments = opens or (in_fragments and line.lstrip().startswith("- "))
        if named and in_fragments and named[2].split(".")[0] in fragments:
            line = f"{named[1]}{COLLECTION}.{named[2]}\n"
        lines.append(line)
    return "".join(lines)


def stems(folder: str) -> frozenset[str]:
    """The names of the Python files of one of the project's folders."""
    return frozenset(path.stem for path in (ROOT / folder).glob("*.py"))


def lay_out(parent: Path) -> Path:
    """Write the collection below a folder and return its own folder."""
    collection = parent / "ansible_collections" / NAMESPACE / NAME
    modules, utilities, fragments = stems("library"), stems("module_utils"), stems("doc_fragments")
    for source, kind in FOLDERS.items():
        target = collection / "plugins" / kind
        target.mkdir(parents=True)
        for path in sorted((ROOT / source).iterdir()):
            if path.suffix == ".py":
                text = rewritten(path.read_text(encoding="utf-8"), modules, utilities, fragments)
                (target / path.name).write_text(text, encoding="utf-8")
            elif path.suffix == ".yml":
                shutil.copyfile(path, target / path.name)
    (collection / "meta").mkdir()
    (collection / "meta" / "runtime.yml").write_text("---\nrequires_ansible: '>=2.19.0'\n", encoding="utf-8")
    manifest = {
        "namespace": NAMESPACE,
        "name": NAME,
        "version": VERSION,
        "readme": "README.md",
        "authors": ["parkmesh"],
        "description": "ZeroTier overlays as code",
    }
    (collection / "galaxy.yml").write_text(json.dumps(manifest, indent=1), encoding="utf-8")
    (collection / "ansible.cfg").write_text("[defaults]\n", encoding="utf-8")
    (collection / "README.md").write_text(f"# {COLLECTION}\n", encoding="utf-8")
    core = ".".join(version("ansible-core").split(".")[:2])
    ignored = sorted(
        str(path.relative_to(collection)) for kind in CHECKED for path in (collection / "plugins" / kind).glob("*.py")
    )
    sanity = collection / "tests" / "sanity"
    sanity.mkdir(parents=True)
    lines = "".join(f"{path} validate-modules:{IGNORED}\n" for path in ignored)
    (sanity / f"ignore-{core}.txt").write_text(lines, encoding="utf-8")
    return collection


def with_ansible_test(collection: Path) -> int:
    """Run the real command; returns its exit code. What needs other collections can't be read there and is left out."""
    for path in (collection / "plugins" / "modules").glob("*.py"):
        if "ansible_collections.amazon" in path.read_text(encoding="utf-8"):
            path.unlink()
            print(f"left out: {path.name}")
    command = [str(Path(sys.executable).parent / "ansible-test"), "sanity", "--test", "validate-modules"]
    return subprocess.run(command, cwd=collection, check=False, stdin=subprocess.DEVNULL).returncode


def with_validate_modules(collection: Path) -> int:
    """Run ansible-test's program as ansible-test does; returns 0 without findings, 1 with some, 2 when it failed."""
    missing = [name for name in ("voluptuous", "antsibull_docs_parser") if importlib.util.find_spec(name) is None]
    specification = importlib.util.find_spec("ansible_test")
    if missing or specification is None or not specification.submodule_search_locations:
        print(f"validate-modules needs {', '.join(missing) or 'ansible_test'} in this Python's environment")
        return 2
    program = Path(specification.submodule_search_locations[0], "_util/controller/sanity/validate-modules/validate.py")
    environment = {
        **os.environ,
        "ANSIBLE_COLLECTIONS_PATH": str(collection.parents[2]),
        # The project's own settings would show the plugins under two names.
        "ANSIBLE_CONFIG": str(collection / "ansible.cfg"),
        "PYTHONDONTWRITEBYTECODE": "1",
    }
    findings = checked = 0
    for kind in CHECKED:
        paths = sorted(str(path.relative_to(collection)) for path in (collection / "plugins" / kind).glob("*.py"))
        checked += len(paths)
        command = [sys.executable, str(program), "--format", "json", "--arg-spec", "--collection"]
        command += [f"ansible_collections/{NAMESPACE}/{NAME}", "--collection-version", VERSION]
        command += [] if kind == "modules" else ["--plugin-type", kind]
        done = subprocess.run(
            [*command, *paths], cwd=collection, env=environment, check=False, capture_output=True, text=True
        )
        if done.stderr or done.returncode not in (0, 3):
            print(done.stdout + done.stderr)
            return 2
        for path, reported in sorted(json.loads(done.stdout).items()):
            for entry in reported["errors"]:
                if entry["code"] != IGNORED:
                    findings += 1
                    print(f"{path}:{entry['line']}:{entry['column']}: {entry['code']}: {entry['msg']}")
    print(f"validate-modules: {checked} plugins, {findings} findings")
    return 1 if findings or not checked else 0


def main() -> None:
    """Run the check."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--ansible-test", action="store_true", help="run ansible-test itself (needs a package index)")
    parser.add_argument("--keep", type=Path, metavar="FOLDER", help="lay the collection out there and keep it")
    options = parser.parse_args()
    check = with_ansible_test if options.ansible_test else with_validate_modules
    if options.keep is not None:
        sys.exit(check(lay_out(options.keep)))
    with tempfile.TemporaryDirectory() as folder:
        sys.exit(check(lay_out(Path(folder).resolve())))


if __name__ == "__main__":
    main()
