"""The pins agree with each other: what the playbooks name is what the locked packages carry."""

import re
from pathlib import Path

import ansible_collections  # installed by the `ansible` package
import msgspec
import pytest
import yaml

ROOT = Path(__file__).resolve().parents[3]
LOCKS = sorted((ROOT / "requirements").glob("*.txt"))
BUNDLE = "awx.txt"
"""The package out of which scripts/awx_collection takes a folder: what is installed here has another version of it."""


def collections() -> list[dict[str, str]]:
    return yaml.safe_load((ROOT / "requirements.yml").read_text())["collections"]


@pytest.mark.parametrize("pin", collections(), ids=lambda pin: pin["name"])
def test_collection_pin_is_the_version_the_locked_ansible_package_carries(pin: dict[str, str]) -> None:
    folder = Path(next(iter(ansible_collections.__path__))) / pin["name"].replace(".", "/")
    manifest = msgspec.json.decode((folder / "MANIFEST.json").read_bytes())
    assert manifest["collection_info"]["version"] == pin["version"]


def test_every_collection_the_playbooks_name_is_pinned() -> None:
    named = set()
    for folder in ("playbooks", "roles", "inventory"):
        for path in (ROOT / folder).rglob("*.yml"):
            named |= set(
                re.findall(
                    r"(?<![\w-])((?:amazon|community|ansible|containers)\.(?!builtin|yml)[a-z]+)\.[a-z0-9_]+",
                    path.read_text(),
                )
            )
    assert named
    assert named <= {pin["name"] for pin in collections()}


@pytest.mark.parametrize("lock", LOCKS, ids=lambda path: path.name)
def test_lock_has_hashes_and_no_index_addresses(lock: Path) -> None:
    text = lock.read_text()
    assert not re.search(r"https?://|--(extra-)?index-url|--find-links", text)
    # One logical line per requirement: continuation lines belong to it.
    requirements = [line for line in text.replace("\\\n", " ").splitlines() if re.match(r"[a-zA-Z0-9]", line)]
    assert requirements
    assert [line.split()[0] for line in requirements if "--hash=sha256:" not in line] == []


def test_locks_agree_on_every_version_they_share() -> None:
    versions: dict[str, dict[str, str]] = {}
    for lock in (lock for lock in LOCKS if lock.name != BUNDLE):
        for name, version in re.findall(r"^([a-z0-9-]+)==([^ ;\\]+)", lock.read_text(), re.MULTILINE):
            versions.setdefault(name, {})[lock.name] = version
    assert {name: found for name, found in versions.items() if len(set(found.values())) > 1} == {}
