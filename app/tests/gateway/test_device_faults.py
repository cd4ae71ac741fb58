"""What the staff hear of sensors and barriers."""

from typing import Any

import pytest
from parkmesh.gateway.device_faults import faults
from parkmesh.gateway.sensor_feed import SensorHealth
from parkmesh.protocol.edge import DeviceFault


@pytest.mark.parametrize(
    ("said", "kinds"),
    [
        ({}, []),
        ({"battery_percent": 15, "battery_v": 2.1, "rssi": -119.0}, []),
        ({"battery_percent": 14}, ["battery_low"]),
        ({"battery_v": 2.99}, ["battery_low"]),
        ({"battery_low": False, "battery_v": 2.0}, []),
        ({"battery_low": True, "tilted": True, "rssi": -121.0}, ["battery_low", "tilted", "weak_signal"]),
    ],
)
def test_what_is_wrong_with_a_sensor(said: dict[str, Any], kinds: list[str]) -> None:
    found = faults({"a-01": SensorHealth(1, **said)}, [], {"in": None})
    assert found == [DeviceFault(kind, "a-01") for kind in kinds]


def test_all_that_is_wrong_by_name() -> None:
    found = faults({"a-02": SensorHealth(1, 3)}, ["a-01"], {"in": "still_open", "out": None})
    assert [(fault.kind, fault.name) for fault in found] == [
        ("silent", "a-01"),
        ("battery_low", "a-02"),
        ("still_open", "in"),
    ]
