"""Counts the requests that may change the emulator's state: the driver reads the records when they may differ.

Reading everything each second would cost a tenth of a core for as long as a lab stands.
"""

from typing import Any

from moto.core.responses import BaseResponse

READING = ("Describe", "Get", "List", "Head", "AssumeRole")


class Activity:
    """`count` grows with every request whose action isn't known to only read."""

    def __init__(self) -> None:
        self.count = 0

    def watch(self) -> None:
        """Start counting in this process; once."""
        call_action = BaseResponse.call_action

        def counted(response: Any) -> Any:
            try:
                return call_action(response)
            finally:
                # An action that can't be named counts: reading once too often does no harm.
                if not str(response._get_action() or "").startswith(READING):
                    self.count += 1

        BaseResponse.call_action = counted
