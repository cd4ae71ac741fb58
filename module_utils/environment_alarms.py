"""An environment's alarms and its dashboard: what CloudWatch is to watch. Pure.

Each alarm has a section of docs/runbook.md with its name. Metrics are those of Elastic Load Balancing ("CloudWatch
metrics for your Application Load Balancer"), of RDS ("Amazon CloudWatch metrics for Amazon RDS"), and of the servers
themselves (``parkmesh instance lifecycle``), which publish the namespace ``NAMESPACE`` once a minute.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any, Final

NAMESPACE: Final = "Parkmesh"
RUNBOOK: Final = "docs/runbook.md"
GIB: Final = 1024**3

_ID: Final = re.compile(r"\b(app|targetgroup)/([^/\"]+)/[0-9a-f]+")

Alarm = dict[str, Any]


def alarms(settings: Mapping[str, Any]) -> dict[str, Alarm]:
    """The alarms by name, each as PutMetricAlarm takes it.

    ``settings``: name (of the environment), load_balancer and target_group (CloudWatch's names: ``app/<name>/<id>`` and
    ``targetgroup/<name>/<id>``), database, topic (an ARN), and limits (``LIMITS``'s keys).
    """
    name, limits = settings["name"], settings["limits"]
    balancer = {"LoadBalancer": settings["load_balancer"]}
    targets = {**balancer, "TargetGroup": settings["target_group"]}
    database = {"DBInstanceIdentifier": settings["database"]}
    own = {"Environment": name}
    made = {
        "5xx": _share_of_errors(balancer, limits["errors_percent"]),
        "unhealthy-hosts": _of(
            ("AWS/ApplicationELB", "UnHealthyHostCount", targets), "Maximum", ">=", 1, minutes=5, missing="notBreaching"
        ),
        "slots": _of((NAMESPACE, "SlotsUsedPercent", own), "Maximum", ">=", limits["slots_percent"], minutes=15),
        "database-connections": _of(
            ("AWS/RDS", "DatabaseConnections", database), "Maximum", ">=", limits["connections"], minutes=5
        ),
        "database-storage": _of(
            ("AWS/RDS", "FreeStorageSpace", database), "Minimum", "<", limits["free_storage_gib"] * GIB, minutes=5
        ),
        "database-cpu": _of(
            ("AWS/RDS", "CPUUtilization", database), "Average", ">=", limits["cpu_percent"], minutes=15
        ),
        # There is a value only while something replicates by a slot; the standby of two zones doesn't.
        "database-replication-lag": _of(
            ("AWS/RDS", "OldestReplicationSlotLag", database),
            "Maximum",
            ">=",
            limits["replication_lag_gib"] * GIB,
            minutes=15,
            missing="notBreaching",
        ),
        "gateways-backlog": _of((NAMESPACE, "GatewaysBacklog", own), "Maximum", ">=", 1, minutes=15),
    }
    return {
        f"{name}-{short}": {
            **alarm,
            "AlarmDescription": f"What to do: {RUNBOOK}, section {short}",
            "ActionsEnabled": True,
            "AlarmActions": [settings["topic"]],
            "OKActions": [settings["topic"]],
        }
        for short, alarm in made.items()
    }


LIMITS: Final = (
    "errors_percent",
    "slots_percent",
    "connections",
    "free_storage_gib",
    "cpu_percent",
    "replication_lag_gib",
)
"""What the limits of alarms are called; each comes from an input of role aws_service."""

_OPERATORS: Final = {">=": "GreaterThanOrEqualToThreshold", "<": "LessThanThreshold"}


def _of(
    metric: tuple[str, str, Mapping[str, str]],
    statistic: str,
    operator: str,
    threshold: float,
    *,
    minutes: int,
    missing: str = "missing",
) -> Alarm:
    namespace, metric_name, dimensions = metric
    return {
        "Namespace": namespace,
        "MetricName": metric_name,
        "Dimensions": _dimensions(dimensions),
        "Statistic": statistic,
        "Period": 60,
        "EvaluationPeriods": minutes,
        "DatapointsToAlarm": minutes,
        "ComparisonOperator": _OPERATORS[operator],
        "Threshold": float(threshold),
        "TreatMissingData": missing,
    }


def _share_of_errors(balancer: Mapping[str, str], percent: float) -> Alarm:
    """Answers with 5xx, of servers and of the load balancer, among all; a few at night are no alarm."""

    def count(identifier: str, metric: str) -> dict[str, Any]:
        return {
            "Id": identifier,
            "MetricStat": {
                "Metric": {
                    "Namespace": "AWS/ApplicationELB",
                    "MetricName": metric,
                    "Dimensions": _dimensions(balancer),
                },
                "Period": 60,
                "Stat": "Sum",
            },
            "ReturnData": False,
        }

    everything = "(FILL(requests, 0) + FILL(balancer, 0))"
    errors = "(FILL(servers, 0) + FILL(balancer, 0))"
    return {
        "Metrics": [
            {
                "Id": "share",
                "Label": "share of 5xx in percent",
                "Expression": f"IF({everything} >= 20, 100 * {errors} / {everything}, 0)",
                "ReturnData": True,
            },
            count("requests", "RequestCount"),
            count("servers", "HTTPCode_Target_5XX_Count"),
            count("balancer", "HTTPCode_ELB_5XX_Count"),
        ],
        "EvaluationPeriods": 5,
        "DatapointsToAlarm": 3,
        "ComparisonOperator": _OPERATORS[">="],
        "Threshold": float(percent),
        "TreatMissingData": "notBreaching",
    }


def _dimensions(given: Mapping[str, str]) -> list[dict[str, str]]:
    return [{"Name": key, "Value": value} for key, value in sorted(given.items())]


def dashboard(settings: Mapping[str, Any]) -> dict[str, Any]:
    """The dashboard's body (CloudWatch API reference, "Dashboard body structure and syntax").

    ``settings`` as for ``alarms``, and region.
    """
    name, region = settings["name"], settings["region"]
    balancer = ["LoadBalancer", settings["load_balancer"]]
    targets = ["TargetGroup", settings["target_group"], *balancer]
    group, database, own = (
        ["AutoScalingGroupName", f"{name}-app"],
        ["DBInstanceIdentifier", settings["database"]],
        ["Environment", name],
    )
    graphs = [
        ("Requests", "Sum", [["AWS/ApplicationELB", "RequestCount", *balancer]]),
        (
            "Answers with 5xx",
            "Sum",
            [
                ["AWS/ApplicationELB", metric, *balancer]
                for metric in ("HTTPCode_Target_5XX_Count", "HTTPCode_ELB_5XX_Count")
            ],
        ),
        ("Seconds of an answer", "p95", [["AWS/ApplicationELB", "TargetResponseTime", *balancer]]),
        (
            "Hosts",
            "Maximum",
            [["AWS/ApplicationELB", metric, *targets] for metric in ("HealthyHostCount", "UnHealthyHostCount")],
        ),
        ("CPU of the servers", "Average", [["AWS/EC2", "CPUUtilization", *group]]),
        ("Size of the group", "Average", [["AWS/AutoScaling", "GroupInServiceInstances", *group]]),
        ("Slots used, in percent", "Maximum", [[NAMESPACE, "SlotsUsedPercent", *own]]),
        ("Gateways with a backlog", "Maximum", [[NAMESPACE, "GatewaysBacklog", *own]]),
        ("Database: CPU", "Average", [["AWS/RDS", "CPUUtilization", *database]]),
        ("Database: connections", "Maximum", [["AWS/RDS", "DatabaseConnections", *database]]),
        ("Database: free storage", "Minimum", [["AWS/RDS", "FreeStorageSpace", *database]]),
        ("Database: replication lag", "Maximum", [["AWS/RDS", "OldestReplicationSlotLag", *database]]),
    ]
    return {
        "widgets": [
            {
                "type": "metric",
                "x": 8 * (number % 3),
                "y": 6 * (number // 3),
                "width": 8,
                "height": 6,
                "properties": {"title": title, "region": region, "stat": stat, "period": 60, "metrics": metrics},
            }
            for number, (title, stat, metrics) in enumerate(graphs)
        ]
    }


def compared(alarm: Mapping[str, Any]) -> Alarm:
    """An alarm's own settings, without what AWS derives, in an order of its own."""
    kept = {
        key: alarm[key]
        for key in (
            *("AlarmDescription", "ActionsEnabled", "AlarmActions", "OKActions", "InsufficientDataActions"),
            *("Namespace", "MetricName", "Dimensions", "Statistic", "ExtendedStatistic", "Period", "Unit", "Metrics"),
            *("EvaluationPeriods", "DatapointsToAlarm", "ComparisonOperator", "Threshold", "TreatMissingData"),
        )
        if alarm.get(key) not in (None, [], {})
    }
    if "Dimensions" in kept:
        kept["Dimensions"] = sorted(kept["Dimensions"], key=lambda each: each["Name"])
    if "Metrics" in kept:
        kept["Metrics"] = sorted(kept["Metrics"], key=lambda each: each["Id"])
    return kept


def without_ids(value: Any) -> Any:
    """The same with the names of load balancers and target groups only, which can be said in advance."""
    return json.loads(_ID.sub(r"\1/\2", json.dumps(value)))
