"""Which inputs the project's playbooks and roles know, what a name was probably meant to be, and which values are
wrong. Pure.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from typing import Any

SIMILAR = 0.8
"""From which ratio of difflib on a name is taken for a known one that was mistyped."""
OF_ANSIBLE = ("ansible_", "awx_", "tower_")
"""How names begin that Ansible and AWX give (AWX adds awx_job_id and others to every job)."""
_INPUTS = re.compile(r"^# (?:Required|Optional):.*?(?=^# (?:Example|Way back):|^[^#]|\Z)", re.MULTILINE | re.DOTALL)
_RENAMED = re.compile(r"renamed_inputs:\n((?: +\w+: .+\n)+)")
_FLAG = re.compile(r"\b([a-z]\w*)=(?:true|false)\b")
_BOOLEANS = ("true", "false", "yes", "no", "on", "off", "y", "n", "t", "f", "1", "0", "1.0", "0.0")
"""How Ansible's filter bool and its modules write a truth value; the filter takes any other text for false."""
_TRUTH = {"true", "false"}
_NAME = re.compile(r"\b(?:[a-z]\w*_\w*[a-z0-9]|[a-z]\w*(?==))\b")


def of_header(text: str) -> set[str]:
    """Return the names of inputs in a playbook's header: what its parts Required and Optional name with an underscore
    or with a value (``community=riverside``)."""
    return {name for part in _INPUTS.findall(text) for name in _NAME.findall(part)}


def flags(text: str) -> set[str]:
    """Return the inputs in a playbook's header that are true or false (``destroy_force=true``)."""
    return {name for part in _INPUTS.findall(text) for name in _FLAG.findall(part)}


def questions(templates: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Return what the surveys of job templates ask, by input (playbooks/files/awx/job_templates.yml)."""
    return {asked["variable"]: asked for template in templates.values() for asked in template.get("survey") or []}


def wrong_values(given: Mapping[str, Any], flags: set[str], questions: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Return a sentence for each value that its input doesn't allow: a truth value, a choice, or a whole number.

    Texts are left to the playbooks, and so is what only Ansible can evaluate.
    """
    lines = []
    for name, value in sorted(given.items()):
        asked = questions.get(name, {})
        choices = [str(choice) for choice in asked.get("choices") or []]
        text = str(value)
        if "{{" in text or "{%" in text:
            continue
        if name in flags or set(choices) == _TRUTH:
            right, allowed = text.lower() in _BOOLEANS, "true or false"
        elif choices and asked["type"] == "multiplechoice":
            right, allowed = text in choices, " or ".join(choices)
        elif asked.get("type") == "integer":
            lowest, highest = asked.get("min"), asked.get("max")
            right = bool(re.fullmatch(r"-?[0-9]+", text))
            right = right and (lowest is None or int(text) >= lowest) and (highest is None or int(text) <= highest)
            bounds = [f"from {lowest}"] * (lowest is not None) + [f"to {highest}"] * (highest is not None)
            allowed = " ".join(["a whole number", *bounds])
        else:
            continue
        if not right:
            lines.append(f"{name} is {text!r}. Give {allowed}.")
    return lines


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
