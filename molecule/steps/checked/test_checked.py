"""The role in check mode on a new host: it tells of changes, and makes none."""

from typing import Any


def test_a_check_of_a_new_host_tells_of_changes_and_makes_none(scenario: Any) -> None:
    assert scenario.play("--check").changed > 0
    assert scenario.files() == scenario.files_before
    assert scenario.accounts() == set()
