"""The firewall before an environment's load balancer: the rules of its web ACL in AWS WAF. Pure.

AWS WAF Developer Guide, "AWS Managed Rules rule groups list" and "Rate-based rule statement".
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

SCOPE: Final = "REGIONAL"
"""That of load balancers (AWS WAF API reference, Scope)."""
WINDOW_S: Final = 300
MANAGED: Final[Mapping[str, tuple[str, ...]]] = {
    "AWSManagedRulesAmazonIpReputationList": (),
    "AWSManagedRulesKnownBadInputsRuleSet": (),
    # Imports of CSV files are larger than the 8 KiB that this one allows: it only counts.
    "AWSManagedRulesCommonRuleSet": ("SizeRestrictions_BODY",),
}
"""AWS's groups of rules, in their order, with those of their rules that only count."""


def _visibility(name: str) -> dict[str, Any]:
    return {"SampledRequestsEnabled": True, "CloudWatchMetricsEnabled": True, "MetricName": name}


def acl(environment: str, requests: int) -> dict[str, Any]:
    """The web ACL as CreateWebACL takes it. ``requests``: of one address in five minutes; more are blocked."""
    rules: list[dict[str, Any]] = [
        {
            "Name": "rate",
            "Priority": 0,
            "Statement": {
                "RateBasedStatement": {
                    "Limit": requests,
                    "EvaluationWindowSec": WINDOW_S,
                    "AggregateKeyType": "IP",
                }
            },
            "Action": {"Block": {}},
            "VisibilityConfig": _visibility("rate"),
        }
    ]
    for number, (group, counted) in enumerate(MANAGED.items(), start=1):
        statement: dict[str, Any] = {"VendorName": "AWS", "Name": group}
        if counted:
            statement["RuleActionOverrides"] = [{"Name": each, "ActionToUse": {"Count": {}}} for each in counted]
        rules.append(
            {
                "Name": group,
                "Priority": number,
                "Statement": {"ManagedRuleGroupStatement": statement},
                "OverrideAction": {"None": {}},
                "VisibilityConfig": _visibility(group),
            }
        )
    return {
        "Name": f"{environment}-app",
        "DefaultAction": {"Allow": {}},
        "Rules": rules,
        "VisibilityConfig": _visibility(f"{environment}-app"),
    }


def compared(given: Mapping[str, Any]) -> dict[str, Any]:
    """What of a web ACL is to be compared."""
    return {
        "default": given["DefaultAction"],
        "rules": {
            str(each["Priority"]): {key: value for key, value in each.items() if key not in ("Priority",)}
            for each in given["Rules"]
        },
    }
