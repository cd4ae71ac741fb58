"""Whether IAM's policies allow an action on a resource. Plain data: nothing of moto, nothing of a request's form.

moto's own check (moto.iam.access_control) judges each call for all resources, and takes a condition that does not
hold for a denial: policies of least privilege can't be judged by it.

IAM user guide, "Policy evaluation logic" (an explicit denial, then an allowance, else an implicit denial), "IAM JSON
policy elements" (Action, NotAction, Resource, NotResource, Condition), "Condition operators" (IfExists, Null) and "Set
operators for multi-valued context keys". Not here: principals, boundaries, policies of sessions and of resources,
variables, and operators for numbers, dates, binary values and addresses. What isn't here allows nothing.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from enum import Enum
from functools import cache
from typing import Any, NamedTuple

Statement = Mapping[str, Any]


class Verdict(Enum):
    """What policies say; each but ALLOWED refuses the action."""

    ALLOWED = "allowed"
    NOT_ALLOWED = "no policy allows it"
    DENIED = "a policy denies it"


class Asked(NamedTuple):
    """An action (``ec2:ReplaceRoute``) on one resource (ARN or ``*``). ``context``: key in small letters → values."""

    action: str
    resource: str
    context: Mapping[str, Sequence[str]]


def judge(documents: Iterable[Mapping[str, Any]], asked: Asked) -> Verdict:
    """Return what policy documents say together."""
    verdict = Verdict.NOT_ALLOWED
    for document in documents:
        for statement in _several(document["Statement"]):
            denies = statement["Effect"] == "Deny"
            if not _concerns(statement, asked, unknown=denies):
                continue
            if denies:
                return Verdict.DENIED
            verdict = Verdict.ALLOWED
    return verdict


def _several(value: Any) -> Sequence[Any]:
    """A list: where it has one element, a policy may have the element itself."""
    return value if isinstance(value, list) else [value]


def _concerns(statement: Statement, asked: Asked, *, unknown: bool) -> bool:
    if "NotAction" in statement:
        acts = not _any_like(statement["NotAction"], asked.action, ignore_case=True)
    else:
        acts = _any_like(statement["Action"], asked.action, ignore_case=True)
    if "NotResource" in statement:
        there = not _any_like(statement["NotResource"], asked.resource)
    else:
        there = _any_like(statement["Resource"], asked.resource)
    return acts and there and _holds(statement.get("Condition", {}), asked.context, unknown=unknown)


def _any_like(patterns: Any, value: str, *, ignore_case: bool = False) -> bool:
    return any(_pattern(each, ignore_case).fullmatch(value) for each in _several(patterns))


@cache
def _pattern(pattern: str, ignore_case: bool) -> re.Pattern[str]:
    """``*`` is any number of characters, ``?`` is one."""
    text = "".join({"*": ".*", "?": "."}.get(each) or re.escape(each) for each in pattern)
    return re.compile(text, re.DOTALL | (re.IGNORECASE if ignore_case else 0))


def _equal(wanted: str, value: str) -> bool:
    return wanted == value


def _equal_in_any_case(wanted: str, value: str) -> bool:
    return wanted.casefold() == value.casefold()


def _like(wanted: str, value: str) -> bool:
    return _any_like(wanted, value)


_COMPARED: Mapping[str, Callable[[str, str], bool]] = {
    "StringEquals": _equal,
    "StringEqualsIgnoreCase": _equal_in_any_case,
    "StringLike": _like,
    "ArnEquals": _like,
    "ArnLike": _like,
    "Bool": _equal_in_any_case,
}
_NEGATED = {
    "StringNotEquals": "StringEquals",
    "StringNotEqualsIgnoreCase": "StringEqualsIgnoreCase",
    "StringNotLike": "StringLike",
    "ArnNotEquals": "ArnEquals",
    "ArnNotLike": "ArnLike",
}


def _holds(condition: Mapping[str, Mapping[str, Any]], context: Mapping[str, Sequence[str]], *, unknown: bool) -> bool:
    """Whether all operators hold for all of their keys. One that isn't known is as ``unknown`` says."""
    return all(
        _operator_holds(operator, [str(each) for each in _several(wanted)], context.get(key.lower()), unknown)
        for operator, keys in condition.items()
        for key, wanted in keys.items()
    )


def _operator_holds(operator: str, wanted: Sequence[str], values: Sequence[str] | None, unknown: bool) -> bool:
    chosen, _, name = operator.rpartition(":")
    if name == "Null":
        return any(each.casefold() == str(values is None).casefold() for each in wanted)
    base = name.removesuffix("IfExists")
    if values is None and base != name:
        return True
    negated = base in _NEGATED
    compare = _COMPARED.get(_NEGATED.get(base, base))
    if compare is None:
        return unknown
    if values is None:
        return negated or chosen == "ForAllValues"
    found = [any(compare(each, value) for each in wanted) != negated for value in values]
    return all(found) if chosen == "ForAllValues" or (negated and not chosen) else any(found)
