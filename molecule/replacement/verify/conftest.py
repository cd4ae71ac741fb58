"""Fixtures of the running lab."""

from running_lab import host, lab

__all__ = ["host", "lab"]
