"""After the role ran in check mode on a new host: nothing was made."""

from typing import Any


def test_a_check_on_a_new_host_changes_nothing(scenario: Any) -> None:
    assert scenario.files() == scenario.files_before
    assert scenario.accounts() == set()
