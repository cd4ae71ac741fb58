"""The error that the lab's commands show as a single line instead of a traceback."""


class LabError(Exception):
    """Something a person can act on; its text is one line that says what was wrong and what to do."""
