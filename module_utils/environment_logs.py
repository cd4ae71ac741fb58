"""Log groups and flow logs: what modules and the description of an environment read of them alike."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def group_arn(group: Mapping[str, Any]) -> str:
    """The ARN that tags are read by (CloudWatch Logs API reference, LogGroup: the other ends with ``:*``)."""
    return str(group.get("logGroupArn") or group["arn"]).removesuffix(":*")


def flow_log_properties(flow_log: Mapping[str, Any]) -> dict[str, Any]:
    """What of a flow log matters, with what the project asks for where nothing is said.

    Amazon EC2 API reference, CreateFlowLogs: 600 is the default of MaxAggregationInterval, in seconds.
    """
    return {
        "group": flow_log.get("LogGroupName", ""),
        "role": flow_log.get("DeliverLogsPermissionArn", ""),
        "traffic": flow_log.get("TrafficType", "ALL"),
        "interval_s": flow_log.get("MaxAggregationInterval", 600),
    }
