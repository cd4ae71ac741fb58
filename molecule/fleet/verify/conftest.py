"""Fixtures of the running lab."""

from running_lab import browser, desk, host, lab

__all__ = ["browser", "desk", "host", "lab"]
