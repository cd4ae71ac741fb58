"""The inputs of tests/emulator/inventory have come to what they say; tests/emulator/outcomes.py looks."""

from collections.abc import Callable
from typing import Any

import pytest

from tests.emulator.outcomes import LOOKS


@pytest.mark.parametrize("look", LOOKS["aws_network"], ids=lambda look: look.__name__)
def test_inputs_come_to_what_they_say(emulated: Any, look: Callable[[Any], None]) -> None:
    look(emulated.aws)
