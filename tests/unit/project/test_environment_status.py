"""The status of an environment: what is read is counted, priced and written so that people understand it."""

from __future__ import annotations

import importlib
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import ansible.module_utils
import pytest
import yaml

ROOT = Path(__file__).resolve().parents[3]
if str(ROOT / "module_utils") not in ansible.module_utils.__path__:
    ansible.module_utils.__path__.append(str(ROOT / "module_utils"))

status = importlib.import_module("ansible.module_utils.environment_status")

PRICES = yaml.safe_load((ROOT / "playbooks/files/prices.yml").read_text())
NOW = datetime(2026, 11, 29, 12, tzinfo=UTC)


def costs(there: dict[str, Any], servers: list[str]) -> dict[str, float | None]:
    return {each["what"]: each["dollars"] for each in status.costs(there, PRICES, servers=servers)}


def test_a_standby_doubles_what_a_database_costs() -> None:
    database = {"class": "db.t4g.small", "storage_type": "gp3", "storage_gib": 100, "two_zones": False}
    one, two = (
        list(costs({"database": {"d": {**database, "two_zones": each}}}, []).values()) for each in (False, True)
    )
    assert [2 * (each or 0) for each in one] == two


def test_what_has_no_price_is_told_and_not_taken_for_free() -> None:
    assert costs({}, ["t3.small", "x9.huge", "x9.huge"]) == {"servers t3.small (1)": 15, "servers x9.huge (2)": None}


def test_a_firewall_costs_by_its_rules() -> None:
    acl = {"default": {"Allow": {}}, "rules": {"0": {}, "1": {}, "2": {}}}
    assert costs({"web ACL": {"shop": acl}}, []) == {"web ACLs (1)": 5, "rules of web ACLs (3)": 3}


def test_each_price_names_its_source_and_one_unit() -> None:
    units = {"per_hour", "per_month", "per_gib_month"}
    assert all(len(units & set(each)) == 1 and each["source"] for each in PRICES["prices"].values())


def way(target: str | None) -> dict[str, Any]:
    """An environment of one zone whose app subnet's default route leads there, with both kinds of NAT."""
    return {
        "route table": {
            "p-e-public": {"routes": {"0.0.0.0/0": "p-e-internet"}, "tags": {"Role": "public"}},
            "p-e-app-a": {"routes": {"0.0.0.0/0": target} if target else {}, "tags": {"Role": "app"}},
        },
        "NAT gateway": {"p-e-gateway-a": {}},
        "address": {
            "of p-e-nat-a": {"leads_to": "p-e-nat-a"},
            "of p-e-nat-b": {"leads_to": ""},
            "of p-e-gateway-a": {},
        },
    }


@pytest.mark.parametrize(
    ("target", "path"),
    [
        ("p-e-gateway-a", "relayed, where a gateway isn't reachable itself"),
        ("p-e-nat-a", "direct"),
        ("p-e-nat-b", "unknown"),
        (None, "unknown"),
    ],
)
def test_the_overlay_path_is_where_the_default_route_leads(target: str | None, path: str) -> None:
    assert status.overlay_path(way(target)) == path
    assert status.overlay_path({}) == "unknown"


@pytest.mark.parametrize(
    ("passed", "words"),
    [
        (timedelta(seconds=-30), "0 minutes ago"),
        (timedelta(minutes=1), "1 minute ago"),
        (timedelta(minutes=119), "119 minutes ago"),
        (timedelta(hours=47), "47 hours ago"),
        (timedelta(days=3), "3 days ago"),
    ],
)
def test_an_age_is_said_in_words(passed: timedelta, words: str) -> None:
    assert status.ago(NOW - passed, NOW) == words


def test_the_tree_is_written_with_an_indent_for_each_level() -> None:
    tree = {"a": {"b": True, "c": {"d": ["x", "y"], "e": None}}, "f": []}
    assert list(status.lines(tree)) == ["a", "  b: yes", "  c", "    d: x, y", "    e: none", "f: none"]
