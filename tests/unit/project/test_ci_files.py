"""The files of CI systems fit their schemas, name only what there is, and run what `make test` runs."""

import importlib.util
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[3]
GITHUB = [ROOT / ".github/workflows/ci.yml", ROOT / ".github/workflows/release.yml"]
ACTION = ROOT / ".github/actions/prepare/action.yml"
GITLAB = ROOT / ".gitlab-ci.yml"
ALL = [*GITHUB, ACTION, GITLAB]
PINNED = re.compile(r"uses: (?P<action>[\w.-]+/[\w.-]+)@(?P<commit>[0-9a-f]{40}) # v\d+\.\d+\.\d+")


def stages() -> dict[str, Any]:
    spec = importlib.util.spec_from_file_location("run_tests_for_ci", ROOT / "scripts/run_tests.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    found: dict[str, Any] = module.stages()
    return found


@pytest.mark.parametrize(
    ("schema", "files"),
    [
        ("github-workflows", GITHUB),
        ("github-actions", [ACTION]),
        ("gitlab-ci", [GITLAB]),
        ("renovate", [ROOT / "renovate.json"]),
    ],
)
def test_a_file_fits_the_schema_of_its_system(schema: str, files: list[Path]) -> None:
    transform = ["--data-transform", "gitlab-ci"] if schema == "gitlab-ci" else []
    command = ["check-jsonschema", "--builtin-schema", f"vendor.{schema}", *transform, *map(str, files)]
    done = subprocess.run(
        [Path(sys.executable).parent / command[0], *command[1:]], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout


def test_actions_are_pinned_by_their_commit_and_each_by_one() -> None:
    commits: dict[str, set[str]] = {}
    for path in [*GITHUB, ACTION]:
        for line in path.read_text().splitlines():
            if "uses:" in line and "uses: ./" not in line:
                found = PINNED.search(line)
                assert found, line
                commits.setdefault(found["action"], set()).add(found["commit"])
    assert "actions/checkout" in commits
    assert [action for action, pins in commits.items() if len(pins) > 1] == []


@pytest.mark.parametrize("path", ALL, ids=lambda path: str(path.relative_to(ROOT)))
def test_what_a_file_calls_is_there(path: Path) -> None:
    text = path.read_text()
    for name in re.findall(r"\b(?:scripts|bench)/[\w.]+\w", text):
        assert (ROOT / name).is_file(), name
    targets = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    called = re.findall(r"^\s*(?:- |run: |- run: )?make ([a-z-]+)", text, re.MULTILINE)
    assert set(called) <= set(targets)


def test_both_systems_run_every_stage_and_the_same_commands() -> None:
    github, gitlab = yaml.safe_load(GITHUB[0].read_text())["jobs"], yaml.safe_load(GITLAB.read_text())
    # The stage that needs containers is a job for each of its parts.
    wanted = {*stages()} - {"lab"}
    assert set(github["tests"]["strategy"]["matrix"]["stage"]) == wanted
    assert set(gitlab["tests"]["parallel"]["matrix"][0]["STAGE"]) == wanted
    assert github["scan"]["strategy"]["matrix"]["what"] == gitlab["scan"]["parallel"]["matrix"][0]["WHAT"]
    for part in ("lab/tests/whole", "molecule test", "make docs", "scripts/scan"):
        assert all(part in text for text in (GITHUB[0].read_text(), GITLAB.read_text())), part
    benches = [set(re.findall(r"bench/.*", path.read_text())) for path in (GITHUB[0], GITLAB)]
    assert benches[0] == benches[1] != set()


def test_no_job_gets_more_rights_than_to_read_unless_it_releases() -> None:
    for path in GITHUB:
        workflow = yaml.safe_load(path.read_text())
        assert workflow["permissions"] == {"contents": "read"}
        assert [name for name, job in workflow["jobs"].items() if "permissions" in job] == (
            ["release"] if path.name == "release.yml" else []
        )


def test_local_hooks_run_the_lint_of_ci() -> None:
    (repository,) = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())["repos"]
    assert repository["repo"] == "local"
    hooks = {hook["id"]: hook for hook in repository["hooks"]}
    assert {hook["language"] for hook in hooks.values()} == {"system"}
    whole = hooks.pop("lint")
    assert whole["entry"].endswith("scripts/run_tests.py --only lint")
    assert whole["stages"] == ["pre-push"]
    # The quick ones run the commands of lint on the files that a commit has.
    lint = {step.name: [word for word in step.command if word != "."] for step in stages()["lint"]}
    for hook in hooks.values():
        words = hook["entry"].removeprefix(".venv/bin/").replace(" --force-exclude", "").split()
        assert words == [word for word in lint[hook["name"]] if word != "--check"]


def test_renovate_leaves_alone_what_follows_from_other_pins() -> None:
    settings = yaml.safe_load((ROOT / "renovate.json").read_text())
    assert "ansible-galaxy" not in settings["enabledManagers"]
    assert [name for rule in settings["packageRules"] for name in rule.get("matchFileNames", [])] == [
        "requirements/awx.in"
    ]
    assert (ROOT / "requirements/awx.in").is_file()
