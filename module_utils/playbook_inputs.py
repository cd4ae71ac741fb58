"""Which names the project's playbooks and roles know as inputs, and what a name was probably meant to be. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable
from difflib import get_close_matches

SIMILAR = 0.8
"""From which ratio of difflib on a name is taken for a known one that was mistyped."""
OF_ANSIBLE = ("ansible_", "awx_", "tower_")
"""How names begin that Ansible and AWX give (AWX adds awx_job_id and others to every job)."""
_INPUTS = re.compile(r"^# (?:Required|Optional):.*?(?=^# (?:Example|Way back):|^[^#]|\Z)", re.MULTILINE | re.DOTALL)
_RENAMED = re.compile(r"renamed_inputs:\n((?: +\w+: .+\n)+)")
_NAME = re.compile(r"\b(?:[a-z]\w*_\w*[a-z0-9]|[a-z]\w*(?==))\b")


def of_header(text: str) -> set[str]:
    """Return the names of inputs in a playbook's header: what its parts Required and Optional name with an underscore
    or with a value (``community=riverside``)."""
    return {name for part in _INPUTS.findall(text) for name in _NAME.findall(part)}


def renamed(text: str) -> set[str]:
    """Return the earlier names of inputs that a playbook refuses itself (tasks/refuse-renamed.yml)."""
    return {name for part in _RENAMED.findall(text) for name in re.findall(r"(\w+):", part)}


def faults(given: Iterable[str], known: set[str], roles: Iterable[str]) -> dict[str, str]:
    """Return what is wrong with names of inputs: each with a sentence.

    A name that is neither like a known one nor begins like a role's inputs is the user's own, for their inventory.
    """
    found = {}
    for name in sorted(set(given) - known):
        role = next((role for role in roles if name.startswith(f"{role}_")), None)
        close = get_close_matches(name, sorted(known), 1, SIMILAR)
        if name.startswith(OF_ANSIBLE) or not (close or role):
            continue
        meant = f"Did you mean {close[0]}?" if close else f"Role {role} has no such input (roles/{role}/README.md)."
        found[name] = f"No playbook or role knows the input {name}. {meant}"
    return found
