"""The role goes again: `absent` takes back what `present` made, and nothing else.

A scenario's verify/kept.json may name paths (with what is below them) and accounts that stay on purpose, and secrets
that no run may print.
"""

import json
from typing import Any

from conftest import ROOT


def kept(scenario: Any) -> dict[str, list[str]]:
    path = ROOT / "molecule" / scenario.name / "verify" / "kept.json"
    found: dict[str, list[str]] = json.loads(path.read_text()) if path.exists() else {}
    return found


def test_a_check_of_what_is_there_tells_of_no_change(scenario: Any) -> None:
    """With another strategy than the runs before: a role has to do with all that people use."""
    run = scenario.play("--check", environment={"ANSIBLE_STRATEGY": "free"})
    assert run.changed == 0, run.output
    assert not [secret for secret in kept(scenario).get("secrets", []) if secret in run.output]


def test_a_check_of_absent_tells_of_changes_and_makes_none(scenario: Any) -> None:
    before = scenario.files()
    assert scenario.play("--check", **{f"{scenario.name}_state": "absent"}).changed > 0
    assert scenario.files() == before


def test_absent_takes_back_what_present_made_and_nothing_else(scenario: Any) -> None:
    stays = kept(scenario)
    run = scenario.play(**{f"{scenario.name}_state": "absent"})
    assert run.changed > 0
    assert not [secret for secret in stays.get("secrets", []) if secret in run.output]
    left = scenario.files() - scenario.files_before
    folders = tuple(stays.get("paths", []))
    assert {path for path in left if not any(path == each or path.startswith(f"{each}/") for each in folders)} == set()
    assert scenario.files_before - scenario.files() == set()
    assert scenario.accounts() == set(stays.get("accounts", []))


def test_absent_a_second_time_changes_nothing(scenario: Any) -> None:
    run = scenario.play(**{f"{scenario.name}_state": "absent"})
    assert run.changed == 0, run.output
