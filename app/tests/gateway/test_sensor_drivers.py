"""Sensors' payloads as their makers document them, in ChirpStack's envelope."""

import json
from contextlib import suppress
from typing import Any, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st
from parkmesh.gateway.config import CameraKind, SensorKind
from parkmesh.gateway.drivers import CAMERAS, RELAYS, SENSORS, chirpstack, parse_uplink
from parkmesh.gateway.drivers.types import PoisonError, SensorReading, Uplink
from parkmesh.gateway.gates import RelayKind

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
    ],
)
def test_an_undocumented_message_is_refused(kind: SensorKind, f_port: int, payload: str) -> None:
    with pytest.raises(PoisonError, match=rf"{len(bytes.fromhex(payload))} bytes on port {f_port}"):
        SENSORS[kind].decode(f_port, bytes.fromhex(payload))


@given(st.sampled_from(["bosch_tps110", "nwave_nps405"]), st.integers(0, 255), st.binary(max_size=60))
def test_decoding_gives_a_reading_or_a_poison_error(kind: SensorKind, f_port: int, payload: bytes) -> None:
    with suppress(PoisonError):
        assert isinstance(SENSORS[kind].decode(f_port, payload), SensorReading)


def test_the_documented_uplink() -> None:
    uplink = chirpstack.parse(json.dumps(CHIRPSTACK).encode())
    assert uplink == Uplink("0101010101010101", 1, b"\xaa", 1_658_136_855_775, "3ac7e3c4-4401-4b8d-9386-a5c902f9202d")


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
    [(CameraKind, CAMERAS), (SensorKind, SENSORS), (RelayKind, RELAYS)],
    ids=lambda item: str(item)[:20],
)
def test_every_kind_of_the_configuration_has_its_driver_and_no_other_is_there(kinds: Any, drivers: Any) -> None:
    assert set(get_args(kinds)) == set(drivers)
