"""A role for AWS in check mode, where there is only what it stands on: it tells of changes, and makes none."""

import json
from typing import Any

from tests.emulator.outcomes import resources


def test_a_check_of_an_environment_without_it_tells_of_changes_and_makes_none(emulated: Any) -> None:
    before = resources(emulated.aws)
    run = emulated.play("--check")
    assert run.changed > 0, run.output
    assert resources(emulated.aws) == before
    emulated.before.write_text(json.dumps(before))
