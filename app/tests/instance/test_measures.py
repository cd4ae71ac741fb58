"""What a server tells CloudWatch, from the slot table and from its own metrics as the server writes them."""

from typing import Any

from parkmesh.instance.measures import gateways_backlog, publish, slots_used_percent
from parkmesh.instance.slots import Slot
from parkmesh.server.telemetry import metrics
from prometheus_client import generate_latest


def slots(*holders: str | None) -> list[Slot]:
    return [Slot(number, "0123456789", "10.0.0.1", holder) for number, holder in enumerate(holders)]


def test_slots_are_told_in_percent() -> None:
    assert slots_used_percent(slots("i-1", None, "i-2", None)) == 50
    assert slots_used_percent([]) is None


def test_the_backlog_is_read_from_the_server_s_metrics_while_the_database_answers() -> None:
    metrics.GATEWAYS.labels("backlog").set(3)
    metrics.DATABASE_UP.set(1)
    assert gateways_backlog(generate_latest(metrics.REGISTRY).decode()) == 3
    metrics.DATABASE_UP.set(0)
    assert gateways_backlog(generate_latest(metrics.REGISTRY).decode()) is None
    assert gateways_backlog("") is None


def test_only_what_is_known_is_told() -> None:
    told: list[dict[str, Any]] = []

    class Watch:
        def put_metric_data(self, **given: Any) -> None:
            told.append(given)

    publish(Watch(), "parkmesh-test", {"SlotsUsedPercent": 50.0, "GatewaysBacklog": None})
    publish(Watch(), "parkmesh-test", {"GatewaysBacklog": None})
    (given,) = told
    assert given["Namespace"] == "Parkmesh"
    assert [(each["MetricName"], each["Value"]) for each in given["MetricData"]] == [("SlotsUsedPercent", 50.0)]
    assert given["MetricData"][0]["Dimensions"] == [{"Name": "Environment", "Value": "parkmesh-test"}]
