"""IAM's policies are judged as its user guide says: "Policy evaluation logic", "Condition operators"."""

from __future__ import annotations

from typing import Any

import pytest

from lab.aws.policies import Asked, Verdict, judge

TABLE = "arn:aws:dynamodb:eu-west-1:123456789012:table/parkmesh-lab-slots"
ALLOW = {"Effect": "Allow", "Action": "dynamodb:UpdateItem", "Resource": TABLE}


def verdict(
    *statements: dict[str, Any], action: str = "dynamodb:UpdateItem", resource: str = TABLE, **context: Any
) -> str:
    found = {name.replace("__", ":"): values for name, values in context.items()}
    return judge([{"Statement": list(statements)}], Asked(action, resource, found)).name


def test_nothing_is_allowed_unless_a_policy_says_so() -> None:
    assert judge([], Asked("ec2:DescribeVpcs", "*", {})) is Verdict.NOT_ALLOWED
    assert judge([{"Statement": ALLOW}], Asked("dynamodb:UpdateItem", TABLE, {})) is Verdict.ALLOWED


def test_a_denial_wins_over_what_another_policy_allows() -> None:
    documents = [{"Statement": [ALLOW]}, {"Statement": [{"Effect": "Deny", "Action": "*", "Resource": "*"}]}]
    for each in (documents, documents[::-1]):
        assert judge(each, Asked("dynamodb:UpdateItem", TABLE, {})) is Verdict.DENIED


@pytest.mark.parametrize(
    ("statement", "expected"),
    [
        ({"Action": ["dynamodb:Scan"]}, "NOT_ALLOWED"),
        ({"Action": ["dynamodb:Scan", "DynamoDB:updateitem"]}, "ALLOWED"),
        ({"Action": "dynamodb:Update*"}, "ALLOWED"),
        ({"Action": "dynamodb:UpdateItem?"}, "NOT_ALLOWED"),
        ({"Resource": f"{TABLE}/index/*"}, "NOT_ALLOWED"),
        ({"Resource": TABLE.upper()}, "NOT_ALLOWED"),
        ({"Resource": [TABLE.replace("slots", "?????")]}, "ALLOWED"),
        # Only * and ? are special.
        ({"Resource": TABLE.replace("slots", "[a-z]*")}, "NOT_ALLOWED"),
    ],
)
def test_actions_and_resources_fit_by_their_wildcards(statement: dict[str, Any], expected: str) -> None:
    assert verdict(ALLOW | statement) == expected


def test_what_is_named_as_not_meant_is_left_out() -> None:
    but_scan = {"Effect": "Allow", "NotAction": "dynamodb:Scan", "Resource": "*"}
    assert verdict(but_scan) == "ALLOWED"
    assert verdict(but_scan, action="dynamodb:Scan") == "NOT_ALLOWED"
    others = {"Effect": "Allow", "Action": "*", "NotResource": TABLE}
    assert verdict(others) == "NOT_ALLOWED"
    assert verdict(others, resource="*") == "ALLOWED"


@pytest.mark.parametrize(
    ("condition", "values", "expected"),
    [
        ({"StringEquals": {"aws:ResourceTag/Role": "nat"}}, ["nat"], True),
        ({"StringEquals": {"AWS:resourcetag/role": ["app", "nat"]}}, ["nat"], True),
        ({"StringEquals": {"aws:ResourceTag/Role": "nat"}}, ["Nat"], False),
        ({"StringEquals": {"aws:ResourceTag/Role": "nat"}}, None, False),
        ({"StringEqualsIfExists": {"aws:ResourceTag/Role": "nat"}}, None, True),
        ({"StringEqualsIfExists": {"aws:ResourceTag/Role": "nat"}}, ["app"], False),
        ({"StringEqualsIgnoreCase": {"aws:ResourceTag/Role": "NAT"}}, ["nat"], True),
        ({"StringNotEquals": {"aws:ResourceTag/Role": ["app", "nat"]}}, ["nat"], False),
        ({"StringNotEquals": {"aws:ResourceTag/Role": "app"}}, None, True),
        ({"StringLike": {"aws:ResourceTag/Role": "n?t*"}}, ["nat-2"], True),
        ({"StringNotLike": {"aws:ResourceTag/Role": "n*"}}, ["nat"], False),
        ({"ArnLike": {"aws:ResourceTag/Role": "arn:*:role/*"}}, ["arn:aws:iam::1:role/a"], True),
        ({"Bool": {"aws:ResourceTag/Role": True}}, ["true"], True),
        ({"Null": {"aws:ResourceTag/Role": "true"}}, None, True),
        ({"Null": {"aws:ResourceTag/Role": "true"}}, ["nat"], False),
        ({"ForAllValues:StringEquals": {"aws:ResourceTag/Role": ["a", "b"]}}, ["a", "b"], True),
        ({"ForAllValues:StringEquals": {"aws:ResourceTag/Role": ["a", "b"]}}, ["a", "c"], False),
        ({"ForAllValues:StringEquals": {"aws:ResourceTag/Role": ["a"]}}, None, True),
        ({"ForAnyValue:StringEquals": {"aws:ResourceTag/Role": ["a"]}}, ["b", "a"], True),
        ({"ForAnyValue:StringEquals": {"aws:ResourceTag/Role": ["a"]}}, None, False),
        # Each operator and each key must hold.
        ({"StringLike": {"aws:ResourceTag/Role": "*"}, "StringEquals": {"aws:SourceVpc": "vpc-1"}}, ["nat"], False),
    ],
)
def test_conditions_hold_by_their_operators(
    condition: dict[str, Any], values: list[str] | None, expected: bool
) -> None:
    context: dict[str, Any] = {"aws__resourcetag/role": values} if values is not None else {}
    assert (verdict(ALLOW | {"Condition": condition}, **context) == "ALLOWED") is expected
    denied = verdict(ALLOW, ALLOW | {"Effect": "Deny", "Condition": condition}, **context)
    assert denied == ("DENIED" if expected else "ALLOWED")


def test_an_operator_that_is_not_known_allows_nothing_and_denies() -> None:
    condition = {"Condition": {"NumericLessThan": {"dynamodb:attributes": "2"}}}
    assert verdict(ALLOW | condition, dynamodb__attributes=["1"]) == "NOT_ALLOWED"
    assert verdict(ALLOW, ALLOW | condition | {"Effect": "Deny"}, dynamodb__attributes=["1"]) == "DENIED"
