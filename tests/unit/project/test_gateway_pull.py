"""A release that a gateway fetched: signed, checked by root with the real openssl, and put on trial, or not taken.

What the agent's folder holds isn't trusted. lab/tests/whole/test_gateway_pull.py tries it on a host that boots systemd.
"""

import base64
import hashlib
import importlib.util
import io
import json
import os
import subprocess
import sys
import tarfile
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[3]


def program(name: str, path: str) -> Any:
    spec = importlib.util.spec_from_file_location(name, ROOT / path)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


pull = program("parkmesh_pull", "roles/parking_gateway/files/parkmesh-pull.py")
signing = program("sign_release", "scripts/sign_release.py")

OLD, NEW = "aaaaaaaaaaaa", "bbbbbbbbbbbb"
OLD_FILES = {"bin/parkmesh": b"#!/bin/sh\n", "lib/one.py": b"ONE = 1\n", "lib/same.py": b"SAME = 1\n"}
NEW_FILES = OLD_FILES | {"lib/one.py": b"ONE = 2\n", "lib/deep/two.py": b"TWO = 2\n"}
HERE = ("3.13", "x86_64")


def archive(folder: Path, files: dict[str, bytes]) -> Path:
    path = folder / "release.tar.gz"
    with tarfile.open(path, "w:gz") as tar:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size, member.mode = len(content), 0o755 if name.startswith("bin/") else 0o644
            tar.addfile(member, io.BytesIO(content))
    return path


class Host:
    """A gateway's files in a folder, on which release OLD runs; the trial answers as it is told."""

    def __init__(self, root: Path) -> None:
        self.root, self.inbox = root / "host", root / "host/var/lib/parkmesh/pull"
        self.home = self.root / "opt/parkmesh"
        self.state = self.root / "var/lib/parkmesh-rollout"
        self.commands: list[list[str]] = []
        self.trial = '{"result": "kept", "reasons": []}'
        for path, content in OLD_FILES.items():
            place = self.home / "releases" / OLD / path
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(content)
        (self.home / "current").symlink_to(self.home / "releases" / OLD)
        for place in pull.FILES.values():
            (self.root / place).parent.mkdir(parents=True, exist_ok=True)
            (self.root / place).write_text(f"live {place}")
        self.key = signing.Ed25519PrivateKey.generate()
        (self.root / "etc/parkmesh/release.pub").write_text(signing.public_key(self.key))
        self.archive = archive(root, NEW_FILES)
        self.fetched(7)

    def fetched(self, serial: int, key: Any = None, **other: str) -> None:
        """Have the agent fetch the release of a number, whose files the running one doesn't have."""
        how = {"release": NEW, "python": HERE[0], "arch": HERE[1]} | other
        document = signing.sign(key or self.key, self.archive, serial=serial, **how)
        (self.inbox / "parts").mkdir(parents=True, exist_ok=True)
        (self.inbox / "manifest.z").write_bytes(base64.b64decode(document["manifest"]))
        (self.inbox / "signature").write_bytes(base64.b64decode(document["signature"]))
        old = {hashlib.sha256(content).hexdigest() for content in OLD_FILES.values()}
        for part in document["parts"]:
            if part["sha256"] not in old:
                (self.inbox / "parts" / part["sha256"]).write_bytes(base64.b64decode(part["content"]))
        (self.inbox / "ready").write_text(str(serial))

    def run(self, command: Sequence[str]) -> "subprocess.CompletedProcess[str]":
        self.commands.append(list(command))
        if "parkmesh-rollout" in command[0]:
            return subprocess.CompletedProcess(command, 0, self.trial, "")
        return pull.run(command)  # type: ignore[no-any-return]

    def take(self) -> Any:
        outcome = pull.Pull(self.root, self.run, here=HERE).take(50, 10)
        assert not (self.inbox / "ready").exists()
        assert json.loads((self.home / "pulled.json").read_text()) == outcome
        return outcome

    def tried(self) -> list[list[str]]:
        return [command for command in self.commands if "parkmesh-rollout" in command[0]]

    def part(self, path: str) -> Path:
        return self.inbox / "parts" / hashlib.sha256(NEW_FILES[path]).hexdigest()


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Host:
    monkeypatch.delenv("PYTHONPYCACHEPREFIX", raising=False)  # the tests', which systemd's units don't have
    return Host(tmp_path)


def test_a_signed_release_is_built_of_what_runs_and_what_was_fetched_and_put_on_trial(host: Host) -> None:
    outcome = host.take()
    assert (outcome["result"], outcome["serial"], outcome["release"]) == ("kept", 7, NEW), outcome
    built = host.home / "releases" / NEW
    assert {path: (built / path).read_bytes() for path in NEW_FILES} == NEW_FILES
    assert (built / ".complete").read_text() == NEW + "\n"
    modes = {path: (built / path).stat().st_mode & 0o777 for path in ("bin/parkmesh", "lib/deep", "lib/one.py")}
    assert modes == {"bin/parkmesh": 0o755, "lib/deep": 0o755, "lib/one.py": 0o644}
    assert list(built.glob("lib/__pycache__/one.*.pyc"))
    assert [command[1:] for command in host.tried()] == [["apply", "--folder=pulled", "--within=50", "--up=10"]]
    # The configuration and the unit are those that run, not those of the last push.
    assert (host.state / "pulled/release").read_text() == NEW + "\n"
    for name, place in pull.FILES.items():
        assert (host.state / "pulled" / name).read_text() == f"live {place}"
    assert (host.state / "floor").read_text() == "7\n"


def test_the_trial_decides_and_its_reasons_are_told(host: Host) -> None:
    host.trial = '{"result": "put back", "reasons": ["broker: not connected", "list: there is none"]}'
    outcome = host.take()
    assert (outcome["result"], outcome["reason"]) == ("put back", "broker: not connected; list: there is none")
    host.trial = "Killed"
    host.fetched(8)
    assert host.take()["result"] == "put back"


def other_key(host: Host) -> None:
    host.fetched(7, key=signing.Ed25519PrivateKey.generate())


def changed_manifest(host: Host) -> None:
    manifest = zlib.decompress((host.inbox / "manifest.z").read_bytes())
    assert b'"serial":7' in manifest
    (host.inbox / "manifest.z").write_bytes(zlib.compress(manifest.replace(b'"serial":7', b'"serial":9')))


def short_signature(host: Host) -> None:
    (host.inbox / "signature").write_bytes(b"")


def damaged_part(host: Host) -> None:
    host.part("lib/one.py").write_bytes(zlib.compress(b"ONE = 3\n"))


def part_that_is_cut_off(host: Host) -> None:
    whole = host.part("lib/one.py").read_bytes()
    host.part("lib/one.py").write_bytes(whole[:-3])


def part_that_swells(host: Host) -> None:
    host.part("lib/one.py").write_bytes(zlib.compress(bytes(64 * 1024 * 1024)))


def missing_part(host: Host) -> None:
    host.part("lib/one.py").unlink()


def part_that_is_a_link(host: Host) -> None:
    aside = host.root / "aside"
    aside.write_bytes(host.part("lib/one.py").read_bytes())
    host.part("lib/one.py").unlink()
    host.part("lib/one.py").symlink_to(aside)


def part_that_is_a_pipe(host: Host) -> None:
    host.part("lib/one.py").unlink()
    os.mkfifo(host.part("lib/one.py"))


def no_key(host: Host) -> None:
    (host.root / "etc/parkmesh/release.pub").unlink()


def older(host: Host) -> None:
    host.state.mkdir(parents=True)
    (host.state / "floor").write_text("8\n")


def again(host: Host) -> None:
    host.state.mkdir(parents=True)
    (host.state / "floor").write_text("7\n")


def other_python(host: Host) -> None:
    host.fetched(7, python="3.11")


def other_machine(host: Host) -> None:
    host.fetched(7, arch="aarch64")


@pytest.mark.parametrize(
    ("happens", "result", "says"),
    [
        (other_key, "not taken", "the signature is wrong"),
        (changed_manifest, "not taken", "the signature is wrong"),
        (short_signature, "not taken", "the signature is wrong"),
        (damaged_part, "not taken", "(lib/one.py) is damaged"),
        (part_that_is_cut_off, "not taken", "is damaged"),
        (part_that_swells, "not taken", "is damaged"),
        (missing_part, "not taken", "can't be read: No such file"),
        (part_that_is_a_link, "not taken", "can't be read: Too many levels of symbolic links"),
        (part_that_is_a_pipe, "not taken", "is no file"),
        (no_key, "not taken", "there is no key to check the signature with"),
        (older, "refused", "number 7 isn't above 8"),
        (again, "refused", "number 7 isn't above 7"),
        (other_python, "refused", "the release is for Python 3.11 on x86_64, the gateway has 3.13 on x86_64"),
        (other_machine, "refused", "the release is for Python 3.13 on aarch64"),
    ],
)
def test_what_is_wrong_changes_nothing_and_is_one_line(
    host: Host, happens: Callable[[Host], None], result: str, says: str
) -> None:
    happens(host)
    outcome = host.take()
    assert outcome["result"] == result, outcome
    assert says in outcome["reason"]
    assert "\n" not in outcome["reason"]
    assert outcome["asked"] == 7
    assert host.tried() == []
    assert {path.name for path in (host.home / "releases").iterdir()} == {OLD}
    assert (host.home / "current").readlink().name == OLD


def test_a_full_disk_changes_nothing(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    full = os.statvfs_result((4096, 4096, 1000, 10, 10, 100, 10, 10, 0, 255))
    monkeypatch.setattr(os, "statvfs", lambda _: full)
    outcome = host.take()
    assert outcome["result"] == "not taken"
    assert outcome["reason"] == "the disk is full: 0 MiB are free, 64 MiB are needed"
    assert host.tried() == []


def test_a_disk_that_fills_meanwhile_leaves_no_half_release(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    write = Path.write_bytes

    def full(path: Path, content: bytes) -> int:
        if path.name == "two.py":
            raise OSError(28, "No space left on device", str(path))
        return write(path, content)

    monkeypatch.setattr(Path, "write_bytes", full)
    outcome = host.take()
    assert outcome["result"] == "not taken"
    assert outcome["reason"].startswith("No space left on device")
    assert {path.name for path in (host.home / "releases").iterdir()} == {OLD}


@pytest.mark.parametrize("path", ["../x", "lib/../../x", "/etc/x", "lib//x", "lib", "etc/x", "lib/./x"])
def test_a_signed_mistake_leads_nowhere_outside_the_release(host: Host, tmp_path: Path, path: str) -> None:
    host.archive = archive(tmp_path, {path: b"x"})
    host.fetched(7)
    outcome = host.take()
    assert (outcome["result"], outcome["reason"]) == ("refused", "the manifest isn't as expected")


def test_the_third_newest_release_stays_and_older_ones_go(host: Host) -> None:
    for n, name in enumerate(("cccccccccccc", "dddddddddddd", "eeeeeeeeeeee")):
        folder = host.home / "releases" / name
        folder.mkdir()
        os.utime(folder, (1_000 + n, 1_000 + n))
    assert host.take()["result"] == "kept"
    assert {path.name for path in (host.home / "releases").iterdir()} == {NEW, OLD, "eeeeeeeeeeee"}


def test_a_new_key_is_for_its_owner_alone_and_a_wrong_one_is_one_line(tmp_path: Path) -> None:
    public = signing.new_key(tmp_path / "key")
    assert (tmp_path / "key").stat().st_mode & 0o777 == 0o600
    assert public == signing.public_key(signing.load_key((tmp_path / "key").read_text()))
    with pytest.raises(FileExistsError):
        signing.new_key(tmp_path / "key")
    for wrong in ("", "a-secret", public):
        with pytest.raises(ValueError, match="must be a private Ed25519 key") as told:
            signing.load_key(wrong)
        assert "a-secret" not in str(told.value)
