"""A role for AWS goes again: it takes back what it made, and nothing of what it stands on."""

import json
from typing import Any

from tests.emulator.outcomes import resources


def test_a_check_of_what_is_there_tells_of_no_change(emulated: Any) -> None:
    run = emulated.play("--check")
    assert run.changed == 0, run.output


def test_a_check_of_absent_tells_of_changes_and_makes_none(emulated: Any) -> None:
    there = resources(emulated.aws)
    assert emulated.play("--check", state="absent").changed > 0
    assert resources(emulated.aws) == there


def test_absent_takes_back_what_the_role_made_and_nothing_else(emulated: Any) -> None:
    assert emulated.play(state="absent").changed > 0
    assert resources(emulated.aws) == json.loads(emulated.before.read_text())


def test_absent_a_second_time_changes_nothing(emulated: Any) -> None:
    run = emulated.play(state="absent")
    assert run.changed == 0, run.output
