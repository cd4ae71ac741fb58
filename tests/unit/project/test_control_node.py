"""scripts/bootstrap with stand-ins for what it calls, and the settings of the control node in a container."""

import json
import os
import shutil
import subprocess
from pathlib import Path

import ansiblelint
import jsonschema
import pytest
import yaml

ROOT = Path(__file__).resolve().parents[3]
UV = """#!/bin/sh
echo "uv $*" >> calls
case "$1" in
  venv) for last; do :; done; mkdir -p "$last/bin"; ln -s "$(command -v python3)" "$last/bin/python" ;;
  pip) touch .venv/bin/ansible-playbook; chmod +x .venv/bin/ansible-playbook ;;
esac
"""
REFUSED = "#!/bin/sh\necho root is needed for $0 >&2\nexit 100\n"


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """A clone with a space in its path, whose uv, apt-get and dpkg-query are stand-ins."""
    folder = tmp_path / "a clone"
    shutil.copytree(ROOT / "requirements", folder / "requirements")
    (folder / "scripts").mkdir()
    shutil.copy(ROOT / "scripts/bootstrap", folder / "scripts/bootstrap")
    shutil.copy(ROOT / "Makefile", folder / "Makefile")
    for name, text in {".cache/uv/bin/uv": UV, "bin/apt-get": REFUSED, "bin/dpkg-query": REFUSED}.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        path.chmod(0o755)
    return folder


def run(clone: Path, *command: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PATH": f"{clone}/bin:{os.environ['PATH']}"}
    return subprocess.run(command, cwd=clone, env=environment, capture_output=True, text=True, check=False)


def synced(clone: Path) -> list[str]:
    lines = (clone / "calls").read_text().splitlines() if (clone / "calls").exists() else []
    return [line.split("requirements/")[1] for line in lines if line.startswith("uv pip sync")]


def test_a_control_node_gets_its_packages_alone_and_nothing_that_needs_root(clone: Path) -> None:
    done = run(clone, "make", "control")
    assert done.returncode == 0, done.stderr
    assert synced(clone) == ["control.txt"]
    assert "--require-hashes" in (clone / "calls").read_text()


def test_a_second_run_installs_nothing(clone: Path) -> None:
    for _ in range(2):
        assert run(clone, "make", "control").returncode == 0
    assert synced(clone) == ["control.txt"]


def test_a_developers_machine_is_a_control_node_already(clone: Path) -> None:
    for profile in ("docs", "control"):
        assert run(clone, "scripts/bootstrap", profile).returncode == 0
    assert synced(clone) == ["test.txt"]


def test_a_control_node_becomes_a_developers_machine(clone: Path) -> None:
    for profile in ("control", "docs"):
        assert run(clone, "scripts/bootstrap", profile).returncode == 0
    assert synced(clone) == ["control.txt", "test.txt"]


def test_an_unknown_profile_is_refused_before_anything_is_made(clone: Path) -> None:
    done = run(clone, "scripts/bootstrap", "controll")
    assert done.returncode == 1
    assert done.stderr == "parkmesh: no such profile: controll; there are lab, test, docs, control, ci\n"
    assert not (clone / ".venv").exists()


def test_the_control_nodes_packages_are_a_part_of_a_developers(clone: Path) -> None:
    def names(lock: str) -> set[str]:
        return {line.split(" ")[0] for line in (ROOT / "requirements" / lock).read_text().splitlines() if "==" in line}

    assert names("control.txt") < names("test.txt")


def test_every_target_is_listed_by_make(clone: Path) -> None:
    targets = [
        name
        for line in (ROOT / "Makefile").read_text().splitlines()
        if line.startswith(".PHONY:")
        for name in line.split()[1:]
    ]
    listed = run(clone, "make").stdout
    assert [name for name in targets if name != "help" and f"make {name} " not in listed] == []


def test_ansible_navigator_runs_the_execution_environment_that_is_built_here() -> None:
    settings = yaml.safe_load((ROOT / "ansible-navigator.yml").read_text())
    schema = Path(ansiblelint.__file__).parent / "schemas/ansible-navigator-config.json"
    jsonschema.validate(settings, json.loads(schema.read_text()))
    navigator = settings["ansible-navigator"]
    built = yaml.safe_load((ROOT / "execution-environment.yml").read_text())["options"]["tags"]
    assert navigator["execution-environment"]["image"] in built
    # An artifact would keep the whole output of a run.
    assert navigator["playbook-artifact"] == {"enable": False}
