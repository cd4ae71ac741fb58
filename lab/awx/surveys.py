"""AWX's rules for surveys, their answers and schedules' rules: JobTemplateSurveySpec (awx/api/views/__init__.py),
SurveyJobTemplateMixin (awx/main/models/mixins.py), validate_rrule (awx/api/serializers.py)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

TYPES: dict[str, type | tuple[type, ...]] = {
    **dict.fromkeys(("text", "textarea", "password", "multiplechoice"), str),
    "multiselect": (str, list),
    "integer": int,
    "float": (float, int),
}


def error(body: Mapping[str, Any]) -> str | None:
    """Return why AWX refuses a survey, else None."""
    wanted: tuple[tuple[str, type], ...] = (("name", str), ("description", str), ("spec", list))
    for name, kind in wanted:
        if name not in body:
            return f"Field '{name}' is missing from survey spec."
        if not isinstance(body[name], kind):
            return f"Expected {kind.__name__} for field '{name}', received {type(body[name]).__name__} type."
    if not body["spec"]:
        return "'spec' doesn't contain any items."
    seen = set()
    for index, item in enumerate(body["spec"]):
        for name, kind in (("type", str), ("question_name", str), ("variable", str), ("required", bool)):
            if name not in item:
                return f"'{name}' missing from survey question {index}"
            if not isinstance(item[name], kind):
                return f"'{name}' in survey question {index} expected to be {kind.__name__}."
        if item["variable"] in seen:
            return f"'variable' '{item['variable']}' duplicated in survey question {index}."
        seen.add(item["variable"])
        if item["type"] not in TYPES:
            allowed = ", ".join(TYPES)
            return f"'{item['type']}' in survey question {index} is not one of '{allowed}' allowed question types."
        default = item.get("default", "")
        if default != "" and (isinstance(default, bool) or not isinstance(default, TYPES[item["type"]])):
            return f"Default value {default} in survey question {index} expected to be {item['type']}."
        for name in ("min", "max"):
            if item.get(name) is not None and not isinstance(item[name], int):
                return f"The {name} limit in survey question {index} expected to be integer."
        if item["type"] in ("multiplechoice", "multiselect"):
            if "choices" not in item:
                return f"Survey question {index} of type {item['type']} must specify choices."
            defaults = default.splitlines() if isinstance(default, str) else default
            if item["type"] == "multiplechoice" and len(defaults) > 1:
                return "Multiple Choice (Single Select) can only have one default value."
            if any(choice not in item["choices"] for choice in defaults):
                return "Default choice must be answered from the choices listed."
    return None


def answer_errors(survey: Mapping[str, Any], answers: Mapping[str, Any], whole: bool) -> list[str]:
    """Return what is wrong with answers; ``whole``: required ones may not be missing."""
    lines = []
    for item in survey.get("spec", []):
        name, kind = item["variable"], item["type"]
        if name not in answers:
            if item["required"] and whole:
                lines.append(f"'{name}' value missing")
            continue
        value = answers[name]
        if kind == "multiplechoice":
            choices = item["choices"].splitlines() if isinstance(item["choices"], str) else item["choices"]
            if value not in choices:
                lines.append(f"Value {value} for '{name}' expected to be one of {choices}.")
            continue
        if isinstance(value, bool) or not isinstance(value, TYPES[kind]):
            lines.append(f"Value {value} for '{name}' expected to be a {kind}.")
            continue
        size = len(value) if isinstance(value, str | list) else value
        if item.get("min") is not None and size < item["min"]:
            lines.append(f"'{name}' value {value} is too small (must be at least {item['min']}).")
        if item.get("max") is not None and size > item["max"]:
            lines.append(f"'{name}' value {value} is too large (must be no more than {item['max']}).")
    return lines


def rrule_errors(text: str) -> list[str]:
    """Return what is wrong with a schedule's rule."""
    lines = []
    starts = re.findall(r".*?(DTSTART(;[^:]+)?\:[0-9]+T[0-9]+Z?)", text)
    if not starts:
        lines.append("Valid DTSTART required in rrule. Value should start with: DTSTART:YYYYMMDDTHHMMSSZ")
    if re.findall(r".*?(DTSTART:[0-9]+T[0-9]+) ", text):
        lines.append("DTSTART cannot be a naive datetime.  Specify ;TZINFO= or YYYYMMDDTHHMMSSZZ.")
    if len(starts) > 1:
        lines.append("Multiple DTSTART is not supported.")
    if "rrule:" not in text.lower():
        lines.append("One or more rule required in rrule.")
    for rule in re.findall(r".*?(RULE\:[^\s]*)", text):
        if "interval" not in rule.lower():
            lines.append(f"INTERVAL required in rrule: {rule}")
        elif "secondly" in rule.lower():
            lines.append(f"SECONDLY is not supported: {rule}")
    return lines
