"""A release's id follows its content, and its archive runs with nothing installed beside it."""

import importlib.util
import json
import subprocess
import sys
import tarfile
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parents[3]
SCRIPT = ROOT / "scripts" / "build_release.py"


@pytest.fixture
def script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("build_release", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("change", ["source", "name", "lock", "python", "arch", "target"])
def test_id_changes_with_everything_that_goes_in(
    script: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: str
) -> None:
    sources = tmp_path / "parkmesh"
    sources.mkdir()
    (sources / "a.py").write_text("one = 1\n")
    lock = tmp_path / "lock.txt"
    lock.write_text("thing==1\n")
    monkeypatch.setattr(script, "SOURCES", sources)
    arguments = {"target": "server", "python": "3.13", "arch": "x86_64"}
    before = script.release_id(lock, **arguments)
    assert script.release_id(lock, **arguments) == before
    if change == "source":
        (sources / "a.py").write_text("one = 2\n")
    elif change == "name":
        (sources / "a.py").rename(sources / "b.py")
    elif change == "lock":
        lock.write_text("thing==2\n")
    else:
        arguments[change] = {"python": "3.11", "arch": "aarch64", "target": "gateway"}[change]
    assert script.release_id(lock, **arguments) != before


# What a target runs first; `-S` keeps the packages of the Python that runs this test out of sight.
COMMANDS = {
    "gateway": ["-m", "parkmesh", "gateway", "--help"],
    "server": ["-c", "import parkmesh.server.db.schema, parkmesh.server.commands.run, parkmesh.instance.prepare"],
}


@pytest.mark.parametrize("target", ["gateway", "server"])
def test_archive_is_built_once_runs_by_itself_and_has_the_same_bytes_again(tmp_path: Path, target: str) -> None:
    python = f"{sys.version_info.major}.{sys.version_info.minor}"

    def build(output: Path) -> dict[str, object]:
        command = [sys.executable, str(SCRIPT), f"--target={target}", f"--python={python}", f"--output={output}"]
        done = subprocess.run(command, check=True, capture_output=True, text=True)
        answer: dict[str, object] = json.loads(done.stdout)
        return answer

    first, again, elsewhere = build(tmp_path / "one"), build(tmp_path / "one"), build(tmp_path / "two")
    assert (first["changed"], again["changed"]) == (True, False)
    archive = Path(str(first["archive"]))
    assert archive.read_bytes() == Path(str(elsewhere["archive"])).read_bytes()
    with tarfile.open(archive) as tar:
        tar.extractall(tmp_path / "unpacked", filter="data")
    release = tmp_path / "unpacked"
    command = [sys.executable, "-P", "-S", *COMMANDS[target]]
    done = subprocess.run(
        command, env={"PYTHONPATH": str(release / "lib")}, check=False, capture_output=True, text=True, cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr
    assert (release / "bin" / "parkmesh").stat().st_mode & 0o111


def test_a_read_only_clone_s_release_is_built_elsewhere_and_one_that_it_has_is_used(
    script: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clone, cache = tmp_path / "clone/dist", tmp_path / "home/.cache/parkmesh/releases"
    sources = tmp_path / "parkmesh"
    sources.mkdir()
    (sources / "a.py").write_text("one = 1\n")
    monkeypatch.setattr(script, "SOURCES", sources)
    monkeypatch.setattr(script, "install_dependencies", lambda lock, into, python, arch: into.mkdir(parents=True))
    # Root may write everywhere, so the answer of the system is given.
    monkeypatch.setattr(script.os, "access", lambda path, mode: not str(clone).startswith(str(path)))
    cache.parent.mkdir(parents=True)
    first = script.build("gateway", "3.13", "x86_64", [clone, cache])
    assert (first["changed"], Path(first["archive"]).parent) == (True, cache)
    assert script.build("gateway", "3.13", "x86_64", [clone, cache]) == {**first, "changed": False}
    clone.mkdir(parents=True)
    (cache / Path(first["archive"]).name).rename(clone / Path(first["archive"]).name)
    ready = script.build("gateway", "3.13", "x86_64", [clone, cache])
    assert (ready["changed"], Path(ready["archive"]).parent) == (False, clone)


def test_where_nothing_may_be_written_the_folders_are_named(
    script: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(script.os, "access", lambda path, mode: False)
    with pytest.raises(SystemExit, match=f"{tmp_path}/one and {tmp_path}/two can't be written"):
        script.build("gateway", "3.13", "x86_64", [tmp_path / "one", tmp_path / "two"])
