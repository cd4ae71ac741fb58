"""CHANGELOG.md has its form, the version stands in one place, and a release is cut of what is unreleased."""

import re
import subprocess
import sys
import tomllib
from datetime import date
from pathlib import Path

import pytest
from parkmesh import __version__

from scripts import changelog

ROOT = Path(__file__).resolve().parents[3]
HEAD = "# Changelog\n\n## [Unreleased]\n\n### Added\n\n- A.\n\n"
ONE = "## [1.0.0] - 2026-01-31\n\n### Fixed\n\n- B.\n"


def test_the_projects_changelog_has_its_form() -> None:
    found = changelog.sections(changelog.CHANGELOG.read_text(encoding="utf-8"))
    assert changelog.UNRELEASED in found
    released = [name for name in found if name != changelog.UNRELEASED]
    assert not released or released[0] == __version__


def test_every_release_has_upgrade_notes() -> None:
    notes = (ROOT / "docs/upgrading.md").read_text(encoding="utf-8")
    released = [name for name in changelog.sections(changelog.CHANGELOG.read_text()) if name != changelog.UNRELEASED]
    # The first one is described for those who came before it.
    assert [name for name in released[:-1] if f"\n## To {name}\n" not in notes] == []


def test_the_version_stands_in_one_place() -> None:
    assert changelog.version(changelog.VERSION_FILE.read_text(encoding="utf-8")) == __version__
    project = tomllib.loads((ROOT / "app/pyproject.toml").read_text())
    assert project["project"]["dynamic"] == ["version"]
    assert project["tool"]["setuptools"]["dynamic"]["version"] == {"attr": "parkmesh.__version__"}


def test_notes_are_a_releases_section() -> None:
    assert changelog.notes(HEAD + ONE, "v1.0.0", "1.0.0") == "### Fixed\n\n- B.\n"


@pytest.mark.parametrize(
    ("text", "tag", "present", "told"),
    [
        (HEAD + ONE, "v1.1.0", "1.0.0", "the tag is v1.1.0, and the project's version is 1.0.0"),
        (HEAD, "v1.0.0", "1.0.0", "CHANGELOG.md says nothing of 1.0.0"),
    ],
)
def test_a_release_without_version_or_notes_is_refused(text: str, tag: str, present: str, told: str) -> None:
    with pytest.raises(changelog.ChangelogError, match=re.escape(told)):
        changelog.notes(text, tag, present)


def test_cutting_gives_what_is_unreleased_a_version_and_a_date() -> None:
    made = changelog.cut(HEAD + ONE, "1.1.0", date(2026, 2, 28))
    assert changelog.sections(made) == {"Unreleased": "", "1.1.0": "### Added\n\n- A.", "1.0.0": "### Fixed\n\n- B."}


@pytest.mark.parametrize(
    ("text", "name", "told"),
    [
        (HEAD + ONE, "1.0.0", "1.0.0 is released already"),
        (HEAD + ONE, "0.9.0", "[1.0.0] must stand above"),
        (HEAD + ONE, "v2", "v2 is no version"),
        ("# Changelog\n\n## [Unreleased]\n\n" + ONE, "1.1.0", "nothing is unreleased"),
        ("# Changelog\n\n" + ONE, "1.1.0", "the first section must be [Unreleased]"),
        (HEAD + ONE.replace(" - 2026-01-31", ""), "1.1.0", "[1.0.0] needs a version such as 1.2.0 and a date"),
        (HEAD + "## 1.0.0\n", "1.1.0", "a heading isn't of the form"),
        (HEAD.replace("Added", "New") + ONE, "1.1.0", "[Unreleased] has 'New'"),
    ],
)
def test_a_fault_is_one_line(text: str, name: str, told: str) -> None:
    with pytest.raises(changelog.ChangelogError, match=re.escape(told)):
        changelog.cut(text, name, date(2026, 2, 28))


def test_the_command_refuses_a_tag_that_is_not_the_version() -> None:
    command = [sys.executable, ROOT / "scripts/changelog.py", "notes", "v99.0.0"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == f"changelog: the tag is v99.0.0, and the project's version is {__version__}\n"
