"""Sensors' payloads as their makers document them, in ChirpStack's envelope."""

import json
from contextlib import suppress
from typing import Any, get_args

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from parkmesh.gateway.config import CameraKind
from parkmesh.gateway.drivers import (
    CAMERAS,
    CLOSING,
    HOLDING,
    RELAYS,
    SENSORS,
    chirpstack,
    mapped_sensor,
    parse_uplink,
    sensor_reading,
)
from parkmesh.gateway.drivers.types import PoisonError, SensorReading, Uplink
from parkmesh.gateway.gates import HOLDS, Relay, RelayKind
from parkmesh.gateway.sensors import Sensor, SensorKind, SensorMapping

CHIRPSTACK: dict[str, Any] = json.loads(
    """{"deduplicationId":"3ac7e3c4-4401-4b8d-9386-a5c902f9202d","time":"2022-07-18T09:34:15.775023242+00:00",
 "deviceInfo":{"tenantId":"52f14cd4-c6f1-4fbd-8f87-4025e1d49242","applicationId":"17c82e96-be03-4f38-aef3-f83d48582d97",
 "deviceProfileName":"Test device-profile","deviceName":"Test device","devEui":"0101010101010101",
 "tags":{"key":"value"}},
 "devAddr":"00189440","dr":1,"fPort":1,"data":"qg==","rxInfo":[{"gatewayId":"0016c001f153a14c","rssi":-36,"snr":10.5}]}"""
)


@pytest.mark.parametrize(
    ("kind", "f_port", "payload", "reading"),
    [
        ("bosch_tps110", 1, "01", SensorReading("state", occupied=True)),
        ("bosch_tps110", 1, "00", SensorReading("state", occupied=False)),
        ("bosch_tps110", 2, "01 FF", SensorReading("heartbeat", occupied=True, temperature_c=-1.0)),
        ("bosch_tps110", 2, "00 19", SensorReading("heartbeat", occupied=False, temperature_c=25.0)),
        ("bosch_tps110", 2, "01", SensorReading("heartbeat", occupied=True)),
        (
            "bosch_tps110",
            3,
            "24 03 00 00 75 03 00 00 00 00 00 00 00 1D 02 03 01",
            SensorReading(
                "startup",
                occupied=True,
                firmware="0.29.2",
                reset_cause="system request",
                debug_codes=(804, 885),
            ),
        ),
        ("nwave_nps405", 1, "00", SensorReading("state", occupied=False, previous_minutes=0)),
        ("nwave_nps405", 1, "80", SensorReading("state", occupied=True, previous_minutes=0)),
        ("nwave_nps405", 1, "D9", SensorReading("state", occupied=True, previous_minutes=89)),
        ("nwave_nps405", 1, "5A", SensorReading("state", occupied=False, previous_minutes=90)),
        ("nwave_nps405", 1, "77", SensorReading("state", occupied=False, previous_minutes=235)),
        ("nwave_nps405", 1, "78", SensorReading("state", occupied=False, previous_minutes=240)),
        ("nwave_nps405", 1, "7E", SensorReading("state", occupied=False, previous_minutes=600)),
        ("nwave_nps405", 1, "FF", SensorReading("state", occupied=True, previous_minutes=None)),
        ("nwave_nps405", 2, "00 FA FE", SensorReading("heartbeat", occupied=False, battery_v=3.5, temperature_c=9.0)),
        ("nwave_nps405", 2, "80 FA FE", SensorReading("heartbeat", occupied=True, battery_v=3.5, temperature_c=9.0)),
        (
            "nwave_nps405",
            3,
            "01 02 03 02 01",
            SensorReading("startup", occupied=True, firmware="1.2.3", reset_cause="power on"),
        ),
        ("nwave_nps405", 6, "01 02", SensorReading("other")),
        ("nwave_nps405", 10, "80 00 00 00 2A", SensorReading("state", occupied=True)),
        ("bosch_tps110", 4, "01 02", SensorReading("other")),
        ("bosch_tps110", 5, "01", SensorReading("other")),
        ("bosch_tps110", 6, "", SensorReading("other")),
        (
            "bosch_tps110",
            3,
            "24 F3 00 00 00 00 00 00 00 00 00 00 00 1D 02 01 00",  # debug codes have 12 bits
            SensorReading("startup", occupied=False, firmware="0.29.2", reset_cause="watchdog", debug_codes=(804,)),
        ),
    ],
)
def test_decoding(kind: SensorKind, f_port: int, payload: str, reading: SensorReading) -> None:
    assert SENSORS[kind].decode(f_port, bytes.fromhex(payload)) == reading


@pytest.mark.parametrize(
    ("kind", "f_port", "payload"),
    [
        ("bosch_tps110", 1, ""),
        ("bosch_tps110", 1, "01 02"),
        ("bosch_tps110", 3, "01"),
        ("bosch_tps110", 9, "01"),
        ("nwave_nps405", 1, ""),
        ("nwave_nps405", 2, "00 FA"),
        ("nwave_nps405", 0, "80"),
        ("libelium_parking", 3, "80 5B 00 09"),
    ],
)
def test_an_undocumented_message_is_refused(kind: SensorKind, f_port: int, payload: str) -> None:
    with pytest.raises(PoisonError, match=rf"{len(bytes.fromhex(payload))} bytes "):
        SENSORS[kind].decode(f_port, bytes.fromhex(payload))


@given(st.sampled_from(sorted(SENSORS)), st.integers(0, 255), st.binary(max_size=60))
def test_decoding_gives_a_reading_or_a_poison_error(kind: SensorKind, f_port: int, payload: bytes) -> None:
    with suppress(PoisonError):
        assert isinstance(SENSORS[kind].decode(f_port, payload), SensorReading)


LIBELIUM = [
    ("006E000900390000000000", SensorReading("state", occupied=False, battery_low=False, temperature_c=9.0)),
    ("805B0009001400DE0A0801", SensorReading("state", occupied=True, battery_low=False, temperature_c=9.0)),
    ("81C60014053300D90C80C8", SensorReading("heartbeat", occupied=True, battery_low=False, temperature_c=20.0)),
    ("829F665700000D9F00FF00", SensorReading("heartbeat", occupied=True, battery_low=False)),
    ("04001E0E7CF2D9F91E0DDF", SensorReading("startup", occupied=False, battery_low=False, firmware="30")),
    ("C05B00F7001400DE0A0801", SensorReading("state", occupied=True, battery_low=True, temperature_c=-9.0)),
]
MILESIGHT = [
    # The examples of the maker's own pages.
    ("milesight_em310_udl", "01755C 03824408 040001", SensorReading("other", battery_percent=92, tilted=True)),
    (
        "milesight_em310_udl",
        "01755C 03824408 040000",
        SensorReading("state", battery_percent=92, distance_mm=2116, tilted=False),
    ),
    (
        "milesight_em400_mud",
        "01755C 03670101 04824408 050001",
        SensorReading("other", battery_percent=92, temperature_c=25.7, tilted=True),
    ),
    ("milesight_em400_mud", "8367E80001 8482410601", SensorReading("state", temperature_c=23.2, distance_mm=1601)),
    # The model's own facts, as it joins.
    ("milesight_em400_mud", "FF0BFF FF0101 FF166730B51234567890 FF090100 FF0A0101 FF0F00", SensorReading("other")),
    ("milesight_em310_udl", "FE03B004", SensorReading("other")),
    ("milesight_em310_udl", "0382FDFF 040000", SensorReading("other", tilted=False)),
]
PLACEPOD = [
    ("156600", SensorReading("state", occupied=False)),
    ("156601", SensorReading("state", occupied=True)),
    ("376601", SensorReading("heartbeat", occupied=True)),
    ("156600026700F0", SensorReading("state", occupied=False, temperature_c=24.0)),
    ("0267FFF6 0302016A", SensorReading("other", temperature_c=-1.0, battery_v=3.62)),
    ("210005", SensorReading("other")),
]


@pytest.mark.parametrize(
    ("kind", "payload", "reading"),
    [
        *(("libelium_parking", *each) for each in LIBELIUM),
        *MILESIGHT,
        *(("pni_placepod", *each) for each in PLACEPOD),
    ],
)
def test_decoding_on_any_port(kind: SensorKind, payload: str, reading: SensorReading) -> None:
    assert SENSORS[kind].decode(85, bytes.fromhex(payload)) == reading


@pytest.mark.parametrize(
    ("kind", "payload"),
    [
        ("milesight_em310_udl", "0382 44"),
        ("milesight_em310_udl", "0482 4408"),  # the other model's distance
        ("milesight_em400_mud", "0382 4408"),
        ("milesight_em400_mud", "01"),
        ("pni_placepod", "1566"),
        ("pni_placepod", "15FF00"),
        ("libelium_parking", "0F5B0009001400DE0A0801"),
    ],
)
def test_what_a_model_does_not_send_is_refused(kind: SensorKind, payload: str) -> None:
    with pytest.raises(PoisonError):
        SENSORS[kind].decode(85, bytes.fromhex(payload))


@pytest.mark.parametrize(("distance", "occupied"), [("5802", True), ("E803", False), ("0000", True), ("FFFF", None)])
def test_a_distance_is_a_car_where_the_configuration_says_so(distance: str, occupied: bool | None) -> None:
    sensor = Sensor("a-01", "milesight_em400_mud", "24e124713a000001", occupied_below_mm=1000)
    uplink = Uplink("24e124713a000001", 85, bytes.fromhex(f"0482{distance}"), None, "")
    assert sensor_reading(sensor, b"", uplink).occupied is occupied


FLEXIMODO = SensorMapping("object.parkingStatus", occupied=["BUSY", "OCCUPIED"], free=["FREE"])
"""Fleximodo's sensors behind a LoRaWAN server that decodes their payloads."""


@pytest.mark.parametrize(
    ("message", "reading"),
    [
        (b'{"object":{"parkingStatus":"BUSY","statusChanged":true}}', SensorReading("state", occupied=True)),
        (b'{"object":{"parkingStatus":"free"}}', SensorReading("state", occupied=False)),
        (b'{"object":{"batteryVoltage":3.6}}', SensorReading("other", battery_v=3.6)),
        (b'{"object":null}', SensorReading("other")),
        (b"[]", SensorReading("other")),
    ],
)
def test_a_sensor_without_a_driver_is_read_by_its_mapping(message: bytes, reading: SensorReading) -> None:
    mapping = msgspec.structs.replace(FLEXIMODO, battery_v="object.batteryVoltage")
    assert mapped_sensor.read(mapping, message) == reading


@pytest.mark.parametrize("message", [b"", b"\xff", b'{"object":{"parkingStatus":"ERROR"}}'])
def test_a_word_that_means_neither_state_is_refused(message: bytes) -> None:
    with pytest.raises(PoisonError):
        mapped_sensor.read(FLEXIMODO, message)


@pytest.mark.parametrize(
    ("heard", "signal"),
    [
        ([{"rssi": -110, "snr": -4}, {"rssi": -57, "loRaSNR": 9.5}], (-57.0, 9.5)),
        ([{"rssi": -57}], (-57.0, None)),
        ([{"rssi": "-57"}, None, 3, {"rssi": True}], (None, None)),
        ({"rssi": -57}, (None, None)),
        (None, (None, None)),
    ],
)
def test_the_signal_is_that_of_the_best_gateway_and_refuses_nothing(heard: Any, signal: tuple[Any, Any]) -> None:
    uplink = chirpstack.parse(json.dumps({**CHIRPSTACK, "rxInfo": heard}).encode())
    assert (uplink.rssi, uplink.snr) == signal


def test_the_documented_uplink() -> None:
    uplink = chirpstack.parse(json.dumps(CHIRPSTACK).encode())
    once = "3ac7e3c4-4401-4b8d-9386-a5c902f9202d"
    assert uplink == Uplink("0101010101010101", 1, b"\xaa", 1_658_136_855_775, once, -36.0, 10.5)


def test_left_out_fields_are_zero_and_empty() -> None:
    uplink = chirpstack.parse(b'{"deviceInfo":{"devEui":"ABCDEF0123456789"}}')
    assert uplink == Uplink("abcdef0123456789", 0, b"", None, "")


@pytest.mark.parametrize(
    "message",
    [
        b"",
        b"null",
        b"{}",
        b"\xff",
        b'{"deviceInfo":{"devEui":"xyz"}}',
        b'{"deviceInfo":{"devEui":"0101010101010101"},"data":"!"}',
        b'{"deviceInfo":{"devEui":"0101010101010101"},"fPort":"1"}',
        b'{"deviceInfo":null}',
    ],
)
def test_what_is_no_uplink(message: bytes) -> None:
    with pytest.raises(PoisonError, match="not a ChirpStack uplink"):
        chirpstack.parse(message)


@pytest.mark.parametrize("dev_eui", ["AQEBAQEBAQE=", "0101010101010101"])
def test_an_uplink_of_chirpstack_3(dev_eui: str) -> None:
    message = b"""{"applicationID":"1","applicationName":"p","deviceName":"n","devEUI":"EUI","rxInfo":[],"fCnt":3,
 "fPort":1,"data":"AQ==","object":{}}"""
    assert parse_uplink(message.replace(b'"EUI"', f'"{dev_eui}"'.encode())) == Uplink(
        "0101010101010101", 1, b"\x01", None, ""
    )


def test_an_uplink_of_the_things_stack() -> None:
    """Zero fields are left out: here the count."""
    message = b"""{"end_device_ids":{"device_id":"dev1","application_ids":{"application_id":"app1"},
 "dev_eui":"0004A30B001C0530"},"correlation_ids":["as:up:1"],"received_at":"2020-02-12T15:15:45.787Z",
 "uplink_message":{"session_key_id":"AXBSH1Pk6Z0G166...","f_port":1,"frm_payload":"gkHe"}}"""
    once = "0004a30b001c0530/AXBSH1Pk6Z0G166.../0"
    assert parse_uplink(message) == Uplink("0004a30b001c0530", 1, b"\x82\x41\xde", 1_581_520_545_787, once)


@pytest.mark.parametrize(
    "message",
    [
        b'{"end_device_ids":{},"uplink_message":{}}',
        b'{"end_device_ids":{"dev_eui":"0004A30B001C0530"},"uplink_message":{"frm_payload":"!"}}',
        b'{"end_device_ids":{"dev_eui":"0004A30B001C0530"}}',
        b'{"devEUI":"AQEB","fPort":1}',
        b'{"devEUI":"zzzzzzzzzzzzzzzz","fPort":1}',
    ],
)
def test_what_is_no_uplink_of_the_others(message: bytes) -> None:
    with pytest.raises(PoisonError, match="not a"):
        parse_uplink(message)


@pytest.mark.parametrize("time", [None, "", "yesterday", "1969-12-31T23:59:59Z"])
def test_a_time_that_is_none(time: str | None) -> None:
    assert chirpstack.parse(json.dumps({**CHIRPSTACK, "time": time}).encode()).at is None


@pytest.mark.parametrize(
    ("kinds", "drivers"),
    [(CameraKind, CAMERAS), (SensorKind, [*SENSORS, "mapped"]), (RelayKind, RELAYS)],
    ids=lambda item: str(item)[:20],
)
def test_every_kind_of_the_configuration_has_its_driver_and_no_other_is_there(kinds: Any, drivers: Any) -> None:
    assert set(get_args(kinds)) == set(drivers)


def test_relays_that_hold_and_close_are_those_of_the_configuration() -> None:
    assert set(HOLDING) == HOLDS
    assert {kind for kind in get_args(RelayKind) if Relay(kind=kind, calls=None).can_close} | {"http"} == set(CLOSING)
