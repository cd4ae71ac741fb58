"""What an app server tells CloudWatch once a minute: of the overlay's slots, and of the gateways of all communities.

Every server tells the same, so alarms take the maximum. Role aws_service makes alarms of them (namespace ``Parkmesh``,
dimension ``Environment``; module_utils/environment_alarms.py).
"""

import os
import urllib.request
from collections.abc import Iterable, Mapping
from typing import Any

from parkmesh.instance.slots import Slot

NAMESPACE = "Parkmesh"
METRICS_URL = "http://127.0.0.1:8000/metrics"
EVERY_S = 60.0
_BACKLOG = 'parkmesh_gateways{state="backlog"}'
_DATABASE_UP = "parkmesh_database_up"


def slots_used_percent(slots: Iterable[Slot]) -> float | None:
    """How many of the slots are held; None when there are none."""
    held = [slot.holder is not None for slot in slots]
    return 100.0 * sum(held) / len(held) if held else None


def gateways_backlog(text: str) -> float | None:
    """How many gateways have a backlog, from the server's own metrics; None when it doesn't know at the moment."""
    values = dict(line.rsplit(" ", 1) for line in text.splitlines() if line and not line.startswith("#"))
    if float(values.get(_DATABASE_UP, "0")) != 1.0 or _BACKLOG not in values:
        return None
    return float(values[_BACKLOG])


def server_metrics(environment: Mapping[str, str] = os.environ) -> str:
    """The server's metrics as Prometheus reads them; empty when it doesn't answer."""
    token = environment.get("PARKMESH_METRICS_TOKEN")
    request = urllib.request.Request(METRICS_URL, headers={"Authorization": f"Bearer {token}"} if token else {})
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(request, timeout=5) as answer:
            return str(answer.read().decode())
    except OSError:
        return ""


def publish(client: Any, environment: str, values: Mapping[str, float | None]) -> None:
    """Tell CloudWatch the values that are known. ``client`` is boto3's. Raises what boto3 raises."""
    data = [
        {"MetricName": name, "Dimensions": [{"Name": "Environment", "Value": environment}], "Value": value}
        for name, value in values.items()
        if value is not None
    ]
    if data:
        client.put_metric_data(Namespace=NAMESPACE, MetricData=data)
