"""The table of rules enforces what their one definition says: the same columns, defaults, bounds and choices."""

import re
from typing import Any

from parkmesh.domain.community_rules import RULES, Rule

COLUMNS = """
SELECT a.attname AS name, NOT a.attnotnull AS optional, pg_get_expr(d.adbin, d.adrelid) AS initial
FROM pg_attribute a LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
WHERE a.attrelid = 'community_rules'::regclass AND a.attnum > 0 AND NOT a.attisdropped
  AND a.attname <> 'community_id'
"""
CHECKS = """
SELECT a.attname AS name, pg_get_constraintdef(c.oid) AS condition
FROM pg_constraint c JOIN pg_attribute a ON a.attrelid = c.conrelid AND a.attnum = c.conkey[1]
WHERE c.conrelid = 'community_rules'::regclass AND c.contype = 'c'
"""
TRIGGER = "SELECT pg_get_triggerdef(oid) AS text FROM pg_trigger WHERE tgname = 'changed' AND tgrelid = $1::regclass"


def initial(rule: Rule) -> str | None:
    """Return a rule's default as PostgreSQL shows it."""
    if rule.default is None:
        return None
    return f"'{rule.default}'::text" if rule.choices else str(rule.default).lower()


def test_every_rule_can_be_told_and_bounded() -> None:
    for rule in RULES.values():
        assert rule.label
        assert rule.description.endswith(".")
        assert rule.kind is not int or rule.bounds[0] <= (rule.default or 0) <= rule.bounds[1]


async def test_the_table_has_each_rule_with_its_default(owner: Any) -> None:
    found = {row["name"]: (row["optional"], row["initial"]) for row in await owner.fetch(COLUMNS)}
    assert found == {rule.name: (rule.optional, initial(rule)) for rule in RULES.values()}


async def test_the_table_enforces_bounds_and_choices(owner: Any) -> None:
    conditions = {row["name"]: row["condition"] for row in await owner.fetch(CHECKS)}
    bounds = {name: tuple(map(int, re.findall(r"[<>]= (\d+)", text))) for name, text in conditions.items()}
    assert {name: pair for name, pair in bounds.items() if pair} == {
        rule.name: rule.bounds for rule in RULES.values() if rule.kind is int
    }
    words = {name: tuple(re.findall(r"'(\w+)'", text)) for name, text in conditions.items()}
    assert {name: found for name, found in words.items() if found} == {
        rule.name: rule.choices for rule in RULES.values() if rule.choices
    }


async def test_gateways_hear_of_each_rule_that_acts_at_gates(owner: Any) -> None:
    ((text,),) = await owner.fetch(TRIGGER, "community_rules")
    # Gateways aren't told of visitor_codes itself: it decides whether the list that they fetch has codes.
    told = {rule.name for rule in RULES.values() if rule.acts_at_gates} | {"visitor_codes"}
    assert set(re.findall(r"new\.(\w+)", text)) == told
