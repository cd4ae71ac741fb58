"""The comparison of an environment with its desired state: whatever one side lacks is told, in words."""

from __future__ import annotations

import copy
import importlib.util
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

ROOT = Path(__file__).resolve().parents[3]


def load(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, ROOT / "module_utils" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


comparison = load("environment_comparison")
reader = load("environment_reader")

NAMES = st.text("abc-", min_size=1, max_size=4)
SCALARS = st.one_of(st.booleans(), st.integers(1, 9), NAMES)
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=3), max_leaves=6
)
DESCRIPTIONS = st.dictionaries(
    NAMES, st.dictionaries(NAMES, st.dictionaries(NAMES, VALUES, max_size=3), max_size=3), max_size=3
)


@given(DESCRIPTIONS)
def test_what_is_as_it_should_be_has_no_difference(description: dict[str, Any]) -> None:
    assert comparison.differences(description, copy.deepcopy(description)) == []


@given(DESCRIPTIONS, NAMES, NAMES, NAMES, SCALARS)
def test_whatever_is_added_anywhere_is_told_and_so_is_its_absence(
    description: dict[str, Any], kind: str, name: str, key: str, value: Any
) -> None:
    changed = copy.deepcopy(description)
    there = changed.setdefault(kind, {}).setdefault(name, {})
    was = there.get(key, "nothing")
    there[key] = [value, "one more"] if was != [value, "one more"] else [value]
    for desired, found in ((description, changed), (changed, description)):
        assert {(each["kind"], each["name"]) for each in comparison.differences(desired, found)} == {(kind, name)}


@pytest.mark.parametrize(
    ("wanted", "found", "lines"),
    [
        ({"a": 1}, {"a": 2}, ["thing x: a is 2; it should be 1"]),
        ({"a": 1}, {}, ["thing x: a is missing; it should be 1"]),
        ({}, {"a": {"b": True}}, ['thing x: a is {"b": true}, which isn\'t in the desired state']),
        ({"a": {}}, {"a": {"b": True}}, ["thing x: a b is on, which isn't in the desired state"]),
        ({"a": ["p", "q"]}, {"a": ["q", "p"]}, []),
        ({"a": ["p"]}, {"a": ["q"]}, ["thing x: a has q, which isn't in the desired state", "thing x: a lacks p"]),
        ({"a": ["p"]}, {"a": ["p", "p"]}, ["thing x: a has p, which isn't in the desired state"]),
        ({}, {"off": False, "none": None, "empty": []}, []),
        ({"a": comparison.ANY}, {"a": "whatever"}, []),
        ({"a": comparison.ANY}, {}, []),
        ({"a": comparison.between(2, 6)}, {"a": 6}, []),
        ({"a": comparison.between(2, 6)}, {"a": 7}, ["thing x: a is 7; it should be from 2 to 6"]),
        ({"a": comparison.matching("ami-.*")}, {"a": "ami-1"}, []),
        (
            {"a": comparison.matching("ami-.*")},
            {"a": "an ami-1"},
            ["thing x: a is an ami-1; it should be of the form ami-.*"],
        ),
        ({"a": comparison.within(["p", "q"], least=["p"])}, {"a": ["p"]}, []),
        (
            {"a": comparison.within(["p", "q"], least=["p"])},
            {"a": ["q"]},
            ['thing x: a is ["q"]; it should be of ["p", "q"]'],
        ),
    ],
)
def test_a_line_says_what_is_and_what_should_be(wanted: Any, found: Any, lines: list[str]) -> None:
    told = comparison.differences({"thing": {"x": wanted}}, {"thing": {"x": found}})
    assert [each["line"] for each in told] == lines


def test_an_object_may_be_optional_or_known_by_the_form_of_its_name() -> None:
    desired = {"secret": {"owner": comparison.optional({"a": 1}), "~slot-[0-9]+": {"b": 1}}}
    assert comparison.differences(desired, {}) == []
    found = {"secret": {"slot-1": {"b": 1}, "slot-2": {"b": 2}, "slot-x": {"b": 1}}}
    assert [each["line"] for each in comparison.differences(desired, found)] == [
        "secret slot-2: b is 2; it should be 1",
        "secret slot-x isn't in the desired state",
    ]


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"Action": "s3:Get"}, {"Action": ["s3:Get"]}),
        ({"Action": ["b", "a"]}, {"Action": ["a", "b"]}),
        ({"Principal": {"AWS": "x"}}, {"Principal": {"AWS": ["x"]}}),
        ({"Resource": "arn:aws:iam::123456789012:role/x"}, {"Resource": "arn:aws-cn:iam::210987654321:role/x"}),
    ],
)
def test_policies_that_mean_the_same_are_the_same(one: dict[str, Any], other: dict[str, Any]) -> None:
    assert reader.policy({"Statement": one}) == reader.policy({"Statement": [other]})


def test_policies_that_mean_something_else_differ() -> None:
    allow = {"Effect": "Allow", "Action": "*", "Resource": "*"}
    assert reader.policy({"Statement": allow}) != reader.policy({"Statement": {**allow, "Effect": "Deny"}})
    assert reader.policy({"Statement": allow}) != reader.policy({"Statement": {**allow, "Principal": "*"}})
    everybody = {**allow, "Principal": "*"}
    assert reader.policy({"Statement": everybody}) == reader.FULL_ACCESS
    assert reader.policy({"Statement": {**everybody, "Condition": {"Bool": {"x": "true"}}}}) != reader.FULL_ACCESS
